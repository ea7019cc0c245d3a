// Command bare makes the request of `kvexpress out` with nothing to do, and does nothing
// else: the floor that the benchmark compares with.
//
//	bare ADDR ROW...
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
)

type operation struct{ KV row }

type row struct{ Verb, Key string }

func main() {
	if err := run(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "bare:", err)
		os.Exit(1)
	}
}

func run(addr string, rows []string) error {
	var ops []operation
	for _, key := range rows {
		ops = append(ops, operation{row{"get-or-empty", key}})
	}
	body, err := json.Marshal(ops)
	if err != nil {
		return err
	}
	req, err := http.NewRequest(http.MethodPut, "http://"+addr+"/v1/txn", bytes.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d: %s", resp.StatusCode, got)
	}
	var answer struct {
		Results []struct{ KV struct{ Key string } }
	}
	return json.Unmarshal(got, &answer)
}
