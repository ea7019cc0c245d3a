//go:build linux

package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"kvexpress/test/e2e"
)

// accounts has the acknowledged writes of all writers, and the attempts after them.
type accounts struct {
	client *http.Client

	mu     sync.Mutex
	acked  map[string]int
	tried  map[string]int
	count  int // of acknowledged check-and-sets of one counter
	unsure int // of those without an answer
}

func newAccounts() *accounts {
	return &accounts{client: &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 100}},
		acked: map[string]int{}, tried: map[string]int{}}
}

// put writes, and reports whether the store said that it has.
func (l *accounts) put(ctx context.Context, addr, path, query, value string) (bool, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, "http://"+addr+"/v1/kv/"+path+query, strings.NewReader(value))
	if err != nil {
		return false, err
	}
	resp, err := l.client.Do(req)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, body)
	}
	return strings.TrimSpace(string(body)) == "true", err
}

// get is a value and its index; 0 if there is none.
func (l *accounts) get(ctx context.Context, addr, path string) (value, index int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/v1/kv/"+path, nil)
	if err != nil {
		return 0, 0, err
	}
	resp, err := l.client.Do(req)
	if err != nil {
		return 0, 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNotFound {
		return 0, 0, nil
	}
	var rows []struct {
		Value       []byte
		ModifyIndex int
	}
	if err := json.NewDecoder(resp.Body).Decode(&rows); err != nil || len(rows) != 1 {
		return 0, 0, fmt.Errorf("%s: %s, %d rows, %w", path, resp.Status, len(rows), errors.Join(err))
	}
	value, err = strconv.Atoi(string(rows[0].Value))
	return value, rows[0].ModifyIndex, err
}

// write counts up a key of the writer's own, until the store is killed.
func (l *accounts) write(ctx context.Context, addr, path string) {
	for ctx.Err() == nil {
		l.mu.Lock()
		l.tried[path]++
		n := l.tried[path]
		l.mu.Unlock()
		ok, err := l.put(ctx, addr, path, "", strconv.Itoa(n))
		if err != nil || !ok {
			return
		}
		l.mu.Lock()
		l.acked[path] = n
		l.mu.Unlock()
	}
}

// increment counts up a shared key, by check-and-set, until the store is killed.
func (l *accounts) increment(ctx context.Context, addr string) {
	for ctx.Err() == nil {
		value, index, err := l.get(ctx, addr, "shared")
		if err != nil {
			return
		}
		ok, err := l.put(ctx, addr, "shared", "?cas="+strconv.Itoa(index), strconv.Itoa(value+1))
		l.mu.Lock()
		switch {
		case err != nil:
			l.unsure++
		case ok:
			l.count++
		}
		l.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// missing lists acknowledged writes that the store does not have, and rows that were never written.
func (l *accounts) missing(ctx context.Context, addr string) (faults []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for path := range l.tried {
		got, _, err := l.get(ctx, addr, path)
		if err != nil || got < l.acked[path] || got > l.tried[path] {
			faults = append(faults,
				fmt.Sprintf("%s is %d (%v), acknowledged is %d and tried %d", path, got, err, l.acked[path], l.tried[path]))
		}
		l.acked[path], l.tried[path] = got, got
	}
	got, _, err := l.get(ctx, addr, "shared")
	if err != nil || got < l.count || got > l.count+l.unsure {
		faults = append(faults,
			fmt.Sprintf("the counter is %d (%v), acknowledged were %d and %d without an answer", got, err, l.count, l.unsure))
	}
	l.count, l.unsure = got, 0
	return faults
}

// killing runs writers against a hub that is killed again and again, and returns the lost writes.
func killing(t *testing.T, rounds int, args ...string) (faults []string, writes int) {
	t.Helper()
	l := newAccounts()
	for range rounds {
		s := serve(t, args...)
		faults = append(faults, l.missing(t.Context(), s.addr)...)
		var group sync.WaitGroup
		for i := range 8 {
			group.Go(func() { l.write(t.Context(), s.addr, fmt.Sprintf("own/%d", i)) })
			group.Go(func() { l.increment(t.Context(), s.addr) })
		}
		<-time.After(time.Duration(20+rand.IntN(200)) * time.Millisecond)
		s.Kill()
		group.Wait()
		l.client.CloseIdleConnections()
	}
	s := serve(t, args...)
	faults = append(faults, l.missing(t.Context(), s.addr)...)
	for _, n := range l.acked {
		writes += n
	}
	return faults, writes + l.count
}

// kill -9 at any time loses nothing that was acknowledged, and no check-and-set is applied twice. The control: a store
// in memory loses all of it, and the test must see that.
func TestServeKilled(t *testing.T) {
	t.Parallel()
	faults, writes := killing(t, e2e.Times(150), "--data-dir", filepath.Join(t.TempDir(), "data"))
	if len(faults) > 0 {
		t.Errorf("after kill -9:\n%s", strings.Join(faults, "\n"))
	}
	if writes < 100 {
		t.Errorf("only %d writes were made", writes)
	}
	t.Run("control", func(t *testing.T) {
		if faults, _ := killing(t, 2); len(faults) == 0 {
			t.Error("a store that forgets all was not noticed")
		}
	})
}

// An agent outlives its store: a version that is published after a kill and a restart arrives, and past versions are kept.
func TestServeRestartsUnderAnAgent(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	s := serve(t, "--data-dir", data)
	m := e2e.NewMachine(t, s.addr)
	m.Publish("one\n")
	m.Configure("a", nil, e2e.Fields{"key": "hosts", "file": m.Path("hosts"), "min_lines": 1})
	a := m.Agent("a")
	defer a.EndsWell()
	arrives := func(content string) {
		t.Helper()
		e2e.Eventually(t, "the agent has "+content, func() bool { return m.Read("hosts") == content })
	}
	arrives("one\n")
	for _, content := range []string{"two\n", "three\n"} {
		s.Kill()
		s = serve(t, "--data-dir", data, "--listen", s.addr)
		arrives(m.Publish(content))
	}
	if got := m.Ok("show", "-k", "hosts", "--version", "1"); got != "one\n" {
		t.Errorf("version 1 is %q", got)
	}
}

// On a full disk writes are refused in words and reads go on; when there is room, writes do too. A restart has all that
// was acknowledged.
func TestServeFullDisk(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 && os.Getenv("CI") == "" {
		t.Skip("SKIPPED: only root can mount a file system")
	}
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=5m,mode=0700", "tmpfs", dir).CombinedOutput(); err != nil {
		t.Fatalf("mount: %v %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", "--lazy", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v %s", err, out)
		}
	})
	filler := filepath.Join(dir, "filler")
	if err := os.WriteFile(filler, make([]byte, 2<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(dir, "data")
	s := serve(t, "--data-dir", data)
	l := newAccounts()
	var acked []string
	fill := func() error {
		for range 100 {
			path := fmt.Sprintf("own/%d", len(acked))
			if _, err := l.put(t.Context(), s.addr, path, "", strings.Repeat("0", 100_000)+strconv.Itoa(len(acked))); err != nil {
				return err
			}
			acked = append(acked, path)
		}
		t.Fatal("the disk does not fill")
		return nil
	}
	there := func(when string) {
		t.Helper()
		for n, path := range acked {
			if got, _, err := l.get(t.Context(), s.addr, path); err != nil || got != n {
				t.Errorf("%s, %s is %d, %v", when, path, got, err)
			}
		}
	}
	for _, word := range []string{"no space left on device", "store.db"} {
		if err := fill(); !strings.Contains(err.Error(), word) {
			t.Errorf("a full disk is reported as %v, without %q", err, word)
		}
	}
	there("on a full disk")
	m := e2e.NewMachine(t, s.addr)
	long := m.File("long", strings.Repeat("1234567890\n", 30_000))
	if got := m.Want(7, "in", "-k", "hosts", "-f", long, "-l", "1"); !strings.Contains(got.Stderr,
		"no space left on device; free some space") {
		t.Errorf("a publish to a full disk is reported as %s", got.Stderr)
	}

	before := len(acked)
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	m.Ok("in", "-k", "hosts", "-f", long, "-l", "1")
	if err := fill(); err == nil || len(acked) == before {
		t.Errorf("with more room, nothing was written: %v", err)
	}
	s.Kill()
	s = serve(t, "--data-dir", data)
	there("after a restart")
}
