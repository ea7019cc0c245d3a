// Package floor is the baseline for an agent: the minimum of a Go client that keeps one file equal to a key in Consul. It has no
// configuration, no checks, no state and no log. It imports nothing but the standard library.
package floor

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Client keeps one file. It shares nothing with other clients in its process.
type Client struct {
	Addr   string // of Consul's HTTP API, host:port
	Prefix string // without slashes at its ends
	Key    string
	File   string // absolute; its folder exists

	http http.Client
	lock string // path of the lock row
}

// Run watches until ctx ends, and returns the error of ctx. Other errors are taken for passing: it begins again after a second.
func (c *Client) Run(ctx context.Context) error {
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(c.File))
	c.lock = c.Prefix + "/locks/" + hex.EncodeToString(sum[:]) + "/" + host
	c.http.Transport = &http.Transport{DisableCompression: true}
	defer c.http.CloseIdleConnections()
	var index uint64
	var have []byte
	for ctx.Err() == nil {
		data, now, err := c.next(ctx, index)
		if err != nil {
			index = 0
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
			continue
		}
		index = now
		if data == nil || bytes.Equal(data, have) {
			continue
		}
		if err := Install(c.File, data); err != nil {
			return err
		}
		have = data
	}
	return ctx.Err()
}

// next waits for the data row itself, and then reads the small rows in one transaction, as kvexpress agent does. It returns the
// data once it is no longer at index; nil if it did not change, or must not be installed.
func (c *Client) next(ctx context.Context, index uint64) ([]byte, uint64, error) {
	dir := c.Prefix + "/" + c.Key + "/"
	data, now, err := c.wait(ctx, dir+"data?raw", index)
	if err != nil || now == index {
		return nil, index, err
	}
	rows, err := c.Read(ctx, dir+"checksum", dir+"manifest", dir+"stop", c.lock)
	sum := sha256.Sum256(data)
	// If the checksum is not of the data, the two are of different moments, and another change is about to be seen.
	if err != nil || len(rows[dir+"stop"]) > 0 || len(rows[c.lock]) > 0 ||
		hex.EncodeToString(sum[:]) != string(rows[dir+"checksum"]) {
		return nil, now, err
	}
	return data, now, nil
}

// wait asks for rows, and is answered when they are no longer at index, or after a minute.
func (c *Client) wait(ctx context.Context, what string, index uint64) ([]byte, uint64, error) {
	url := "http://" + c.Addr + "/v1/kv/" + what + "&stale&wait=60s"
	if index > 0 {
		url += "&index=" + strconv.FormatUint(index, 10)
	}
	body, header, err := c.do(ctx, http.MethodGet, url, "")
	if err != nil {
		return nil, 0, err
	}
	now, err := strconv.ParseUint(header.Get("X-Consul-Index"), 10, 64)
	if err == nil && now < index {
		now = 0
	}
	return body, now, err
}

// Read is one read transaction: the values of rows, by path.
func (c *Client) Read(ctx context.Context, paths ...string) (map[string][]byte, error) {
	ops := make([]string, len(paths))
	for i, p := range paths {
		ops[i] = `{"KV":{"Verb":"get-or-empty","Key":"` + p + `"}}`
	}
	body, _, err := c.do(ctx, http.MethodPut, "http://"+c.Addr+"/v1/txn", "["+strings.Join(ops, ",")+"]")
	if err != nil {
		return nil, err
	}
	var answer struct {
		Results []struct {
			KV struct {
				Key   string
				Value []byte
			}
		}
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, err
	}
	rows := make(map[string][]byte, len(answer.Results))
	for _, r := range answer.Results {
		rows[r.KV.Key] = r.KV.Value
	}
	return rows, nil
}

func (c *Client) do(ctx context.Context, method, url, body string) ([]byte, http.Header, error) {
	ctx, cancel := context.WithTimeout(ctx, 75*time.Second) // a wait of 60 s, Consul's sixteenth on top, and some
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	var buf bytes.Buffer // at once of the right size, where ReadAll grows
	if resp.ContentLength > 0 {
		buf.Grow(int(resp.ContentLength) + bytes.MinRead)
	}
	_, err = buf.ReadFrom(io.LimitReader(resp.Body, 1<<20))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d: %s", resp.StatusCode, buf.Bytes())
	}
	return buf.Bytes(), resp.Header, err
}

// Install puts data in place as durably as kvexpress does.
func Install(file string, data []byte) error {
	dir := filepath.Dir(file)
	tmp, err := os.CreateTemp(dir, ".floor-")
	if err != nil {
		return err
	}
	_, err = tmp.Write(data)
	err = errors.Join(err, tmp.Chmod(0o640), tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), file)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp.Name()))
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
