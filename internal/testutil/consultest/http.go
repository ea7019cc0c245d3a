package consultest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

const (
	// patience is for an agent to answer, or a cluster to elect a leader, on
	// a machine that has more to do.
	patience = 90 * time.Second
	// requestTime is for one request.
	requestTime = 15 * time.Second
	// maxAnswer is the most bytes read of an answer: a snapshot is larger than
	// a value.
	maxAnswer = 64 << 20
)

// Request sends one request to the agent's HTTP API, such as PUT and
// "/v1/kv/a", and returns the status and body of the answer. An empty token
// sends none. Tests use it to read the store past the code under test.
func (s *Server) Request(method, path, token string, body []byte) (int, []byte, error) {
	ctx, cancel := context.WithTimeout(s.t.Context(), requestTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+s.Addr+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	if token != "" {
		req.Header.Set("X-Consul-Token", token)
	}
	// One connection each: the agent may be another one with the next request.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = resp.Body.Close() }() // read only
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	return resp.StatusCode, answer, err
}

// Ready waits until the agent is of use: it knows a leader, a server accepts a
// write to the KV store, and a client gets its reads answered.
func (s *Server) Ready() {
	s.t.Helper()
	if err := s.poll("be ready", s.serves); err != nil {
		s.t.Fatal(err)
	}
}

// answers reports whether HTTP is up, whatever it says.
func (s *Server) answers() error {
	_, _, err := s.Request(http.MethodGet, "/v1/status/leader", "", nil)
	return err
}

func (s *Server) serves() error {
	const probe = "/v1/kv/consultest-ready"
	leader, err := s.expect(http.MethodGet, "/v1/status/leader", "", nil)
	if err != nil {
		return err
	}
	if string(bytes.TrimSpace(leader)) == `""` {
		return errors.New("no leader")
	}
	if s.opts.client {
		status, body, err := s.Request(http.MethodGet, probe, s.opts.token, nil)
		if err == nil && status != http.StatusOK && status != http.StatusNotFound {
			err = fmt.Errorf("a read gets %d: %s", status, bytes.TrimSpace(body))
		}
		return err
	}
	if _, err := s.expect(http.MethodPut, probe, s.opts.token, nil); err != nil {
		return err
	}
	_, err = s.expect(http.MethodDelete, probe, s.opts.token, nil)
	return err
}

// expect is Request for callers that want nothing but 200.
func (s *Server) expect(method, path, token string, body []byte) ([]byte, error) {
	status, answer, err := s.Request(method, path, token, body)
	if err != nil {
		return nil, err
	}
	if status != http.StatusOK {
		return nil, fmt.Errorf("%s %s: %d: %s", method, path, status, bytes.TrimSpace(answer))
	}
	return answer, nil
}

// poll calls try until it returns nil, patience ends or the agent does.
func (s *Server) poll(what string, try func() error) error {
	limit := time.NewTimer(patience)
	defer limit.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	p := s.process()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("consul at %s ended (%v) before it could %s: %w", s.Addr, p.Cmd.ProcessState, what, err)
		case <-limit.C:
			return fmt.Errorf("consul at %s did not %s within %s: %w", s.Addr, what, patience, err)
		case <-s.t.Context().Done():
			return fmt.Errorf("consul at %s did not %s before the test's end: %w", s.Addr, what, err)
		case <-tick.C:
		}
	}
}

// Reload makes the agent read its configuration files again with "consul
// reload". Every watch fires again then.
func (s *Server) Reload() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.Bin, "reload", "-http-addr", s.Addr)
	cmd.Env = agentEnv(os.Environ(), nil)
	if s.opts.token != "" {
		cmd.Env = append(cmd.Env, "CONSUL_HTTP_TOKEN="+s.opts.token)
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		s.t.Fatalf("consul reload at %s: %v: %s", s.Addr, err, strings.TrimSpace(string(out)))
	}
}

// At is a server that somebody else runs at host:port and that speaks Consul's API, with a token that may do
// everything there. It is for Request alone.
func At(t testing.TB, addr, managementToken string) *Server {
	return &Server{Addr: addr, ManagementToken: managementToken, t: t}
}
