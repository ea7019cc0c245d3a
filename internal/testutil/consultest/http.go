package consultest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
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

// Ready waits until the agent is of use: it knows a leader, and accepts a write to the KV store.
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
	leader, err := s.expect(http.MethodGet, "/v1/status/leader", "", nil)
	if err != nil {
		return err
	}
	if string(bytes.TrimSpace(leader)) == `""` {
		return errors.New("no leader")
	}
	for _, method := range []string{http.MethodPut, http.MethodDelete} {
		if _, err := s.expect(method, "/v1/kv/consultest-ready", s.opts.token, nil); err != nil {
			return err
		}
	}
	return nil
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
	p := s.proc.Load()
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

// Reload makes the agent read its configuration files again, as "consul reload" does. Every
// watch fires again then.
func (s *Server) Reload() {
	s.t.Helper()
	if _, err := s.expect(http.MethodPut, "/v1/agent/reload", s.opts.token, nil); err != nil {
		s.t.Fatal(err)
	}
}

// At is a server at host:port that another process runs and that speaks Consul's API, with a token that may do
// everything there. It is for Request alone.
func At(t testing.TB, addr, managementToken string) *Server {
	return &Server{Addr: addr, ManagementToken: managementToken, t: t}
}
