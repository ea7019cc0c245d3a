package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"kvexpress/internal/kv"
	"kvexpress/internal/testutil/consultest"
)

// scriptStore is the store that all scripts work on, with ACLs.
type scriptStore struct {
	addr, token string // the token may do everything
	newToken    func(policy string) (string, error)
}

// newScriptStore starts a real Consul, or with -short the store of `kvexpress hub`.
func newScriptStore(t *testing.T) *scriptStore {
	t.Helper()
	if !testing.Short() {
		consul := consultest.Start(t, consultest.WithACL())
		newToken := func(policy string) (string, error) { return consul.NewToken(t, policy), nil }
		return &scriptStore{addr: consul.Addr, token: consul.ManagementToken, newToken: newToken}
	}
	if os.Getenv("CI") != "" {
		t.Fatal("-short runs the scripts without a Consul: run all of it in CI")
	}
	e := &serving{file: filepath.Join(t.TempDir(), "tokens.hcl"), hangups: make(chan os.Signal, 1)}
	token, err := e.add(`key_prefix "" { policy = "write" }`)
	if err != nil {
		t.Fatal(err)
	}
	e.addr = served(t, App{Hangups: func() (<-chan os.Signal, func()) { return e.hangups, func() {} }}, "--tokens", e.file)
	return &scriptStore{addr: e.addr, token: token, newToken: e.newToken}
}

// request goes past the code under test.
func (s *scriptStore) request(method, path, token string, body []byte) (int, []byte, error) {
	req, err := http.NewRequestWithContext(context.Background(), method, "http://"+s.addr+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("X-Consul-Token", token)
	resp, err := (&http.Client{Timeout: time.Minute}).Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	return resp.StatusCode, answer, err
}

// serving is a `kvexpress hub` that gets its tokens from a file.
type serving struct {
	addr    string
	hangups chan os.Signal

	mu   sync.Mutex
	file string
}

// add writes one more token to the file.
func (e *serving) add(policy string) (string, error) {
	f, err := os.OpenFile(e.file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return "", err
	}
	defer f.Close()
	id := kv.NewID()
	token := strings.Join([]string{id[:8], id[8:12], id[12:16], id[16:20], id[20:]}, "-")
	_, err = fmt.Fprintf(f, "token %q {\nname = %q\n%s\n}\n", token, "script-"+token[:8], policy)
	return token, err
}

// newToken returns when the store knows the token.
func (e *serving) newToken(policy string) (string, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	token, err := e.add(policy)
	if err != nil {
		return "", err
	}
	e.hangups <- syscall.SIGHUP
	store := &scriptStore{addr: e.addr}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for limit := time.Now().Add(20 * time.Second); time.Now().Before(limit); <-tick.C {
		_, answer, err := store.request(http.MethodGet, "/v1/kv/any", token, nil)
		if err != nil || !bytes.Contains(answer, []byte("ACL not found")) {
			return token, err
		}
	}
	return "", fmt.Errorf("the store never knows the token; its tokens are in %s", e.file)
}
