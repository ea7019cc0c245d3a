package cli

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"kvexpress/internal/consultest"
)

// scriptStore is the store that all scripts work on, with ACLs.
type scriptStore struct {
	addr, token string // the token may do everything
	newToken    func(policy string) (string, error)
}

// newScriptStore starts a real Consul, or with -short the store of `kvexpress serve`.
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
	e := &embedded{file: filepath.Join(t.TempDir(), "tokens.hcl")}
	s := &scriptStore{newToken: e.newToken}
	e.store = s
	var err error
	if s.token, err = e.add(`key_prefix "" { policy = "write" }`); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "kvexpress", "serve", "--dev", "--tokens", e.file, "--listen", "127.0.0.1:0")
	cmd.Env = append(os.Environ(), envState+"="+t.TempDir(), "KVEXPRESS_SYSLOG=off")
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = time.Minute
	var log bytes.Buffer
	cmd.Stderr = &log
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // it has been told to end with the context
		if err := cmd.Wait(); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("the log of the store:\n%s", log.String())
		}
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	_, addr, found := strings.Cut(strings.TrimSpace(line), " on ")
	if err != nil || !found {
		t.Fatalf("serve says %q, %v", line, err)
	}
	s.addr, e.process = addr, cmd.Process
	return s
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

// embedded is a `kvexpress serve` that gets its tokens from a file.
type embedded struct {
	store   *scriptStore
	process *os.Process

	mu   sync.Mutex
	file string
}

// add writes one more token to the file.
func (e *embedded) add(policy string) (string, error) {
	f, err := os.OpenFile(e.file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return "", err
	}
	defer f.Close()
	var id [16]byte
	_, _ = rand.Read(id[:]) // it never fails
	token := fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
	_, err = fmt.Fprintf(f, "token %q {\nname = %q\n%s\n}\n", token, "script-"+token[:8], policy)
	return token, err
}

// newToken returns when the store knows the token.
func (e *embedded) newToken(policy string) (string, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	token, err := e.add(policy)
	if err != nil {
		return "", err
	}
	if err := e.process.Signal(syscall.SIGHUP); err != nil {
		return "", err
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for limit := time.Now().Add(20 * time.Second); time.Now().Before(limit); <-tick.C {
		_, answer, err := e.store.request(http.MethodGet, "/v1/kv/any", token, nil)
		if err != nil || !bytes.Contains(answer, []byte("ACL not found")) {
			return token, err
		}
	}
	return "", fmt.Errorf("the store never knows the token; its tokens are in %s", e.file)
}
