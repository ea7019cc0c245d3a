package consultest_test

import (
	"bytes"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/testutil/consultest"
)

// request fails the test unless the status is the wanted one.
func request(t *testing.T, s *consultest.Server, want int, method, path, token, body string) string {
	t.Helper()
	status, answer, err := s.Request(method, path, token, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	if status != want {
		t.Fatalf("%s %s: %d, want %d: %s", method, path, status, want, answer)
	}
	return string(bytes.TrimSpace(answer))
}

func TestStartServesAndEnds(t *testing.T) {
	consultest.Binary(t) // -short skips all of it
	var s *consultest.Server
	t.Run("in memory", func(t *testing.T) {
		s = consultest.Start(t)
		if got := request(t, s, 200, http.MethodGet, "/v1/kv/?keys", "", ""); got != "[]" {
			t.Errorf("the keys are %s, want none", got)
		}
		request(t, s, 200, http.MethodPut, "/v1/kv/a", "", "one")
		if got := request(t, s, 200, http.MethodGet, "/v1/kv/a?raw", "", ""); got != "one" {
			t.Errorf("read %q, want %q", got, "one")
		}
	})
	if s == nil {
		t.FailNow() // Start has said why
	}
	// The subtest's clean-up has waited for the process: its port is free.
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", s.Addr)
	if err != nil {
		t.Fatalf("the agent outlived its test: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

func TestConfigIsMergedAndReloaded(t *testing.T) {
	seen := filepath.Join(t.TempDir(), "seen")
	watch := func(key string) map[string]any {
		return map[string]any{
			"limits": map[string]any{"rpc_rate": 5000},
			"watches": []any{map[string]any{
				"type": "key", "key": key, "args": []any{"sh", "-c", "echo " + key + " $PLANET >>" + seen},
			}},
		}
	}
	s := consultest.Start(t, consultest.WithConfig(watch("first")), consultest.WithEnv("PLANET=saturn"))
	request(t, s, 200, http.MethodPut, "/v1/kv/first", "", "x")
	waitFor(t, "the watch's handler, with its environment", func() bool { return contains(seen, "first saturn") })

	b, err := json.Marshal(watch("second"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.Config, b, 0o600); err != nil {
		t.Fatal(err)
	}
	s.Reload()
	request(t, s, 200, http.MethodPut, "/v1/kv/second", "", "x")
	waitFor(t, "the reloaded watch's handler", func() bool { return contains(seen, "second saturn") })

	var self struct {
		DebugConfig struct{ HTTPMaxConnsPerClient int }
	}
	if err := json.Unmarshal([]byte(request(t, s, 200, http.MethodGet, "/v1/agent/self", "", "")), &self); err != nil {
		t.Fatal(err)
	}
	if got := self.DebugConfig.HTTPMaxConnsPerClient; got < 10_000 {
		t.Errorf("http_max_conns_per_client is %d: WithConfig's limits replaced the default ones", got)
	}
}

func TestDataSurvivesKill(t *testing.T) {
	s := consultest.Start(t, consultest.WithData())
	addr := s.Addr
	request(t, s, 200, http.MethodPut, "/v1/kv/a", "", "kept")
	s.Kill()
	if _, _, err := s.Request(http.MethodGet, "/v1/status/leader", "", nil); err == nil {
		t.Fatal("a killed agent answers")
	}
	s.Restart()
	if s.Addr != addr {
		t.Errorf("it came back at %s, was at %s", s.Addr, addr)
	}
	if got := request(t, s, 200, http.MethodGet, "/v1/kv/a?raw", "", ""); got != "kept" {
		t.Errorf("read %q after the kill, want %q", got, "kept")
	}
	if !strings.Contains(s.Log(), "agent") {
		t.Error("the log is empty")
	}
}

func TestACL(t *testing.T) {
	s := consultest.Start(t, consultest.WithACL())
	token := s.NewToken(t, `key_prefix "mine/" { policy = "write" }`)
	request(t, s, 200, http.MethodPut, "/v1/kv/mine/a", token, "x")
	request(t, s, 403, http.MethodPut, "/v1/kv/other/a", token, "x")
	request(t, s, 403, http.MethodPut, "/v1/kv/mine/a", "", "x")
	request(t, s, 200, http.MethodPut, "/v1/kv/other/a", s.ManagementToken, "x")
	s.Reload() // needs a token, too
	s.RevokeToken(t, token)
	request(t, s, 403, http.MethodGet, "/v1/kv/mine/a", token, "")
}

func TestClusterSurvivesItsLeader(t *testing.T) {
	servers := consultest.Cluster(t, 3)
	client := consultest.Start(t, consultest.WithClientOf(servers[0]))
	request(t, client, 200, http.MethodPut, "/v1/kv/a", "", "one")

	// The leader is reported by its RPC address, whose host is the agent's own.
	leader := request(t, client, 200, http.MethodGet, "/v1/status/leader", "", "")
	var killed *consultest.Server
	for _, s := range servers {
		if host(t, s.Addr) == host(t, strings.Trim(leader, `"`)) {
			killed = s
		}
	}
	if killed == nil {
		t.Fatalf("the leader %s is none of the servers", leader)
	}
	killed.Kill()
	waitFor(t, "a write after the leader's death", func() bool {
		status, _, err := client.Request(http.MethodPut, "/v1/kv/a", "", []byte("two"))
		return err == nil && status == http.StatusOK
	})
	killed.Restart()
	waitFor(t, "the restarted server to catch up", func() bool {
		_, got, err := killed.Request(http.MethodGet, "/v1/kv/a?raw&stale", "", nil)
		return err == nil && string(got) == "two"
	})
}

func TestPauseAndResume(t *testing.T) {
	s := consultest.Start(t)
	s.Pause()
	client := &http.Client{Timeout: 300 * time.Millisecond}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.Addr+"/v1/status/leader", nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := client.Do(req); err == nil {
		_ = resp.Body.Close()
		t.Error("a paused agent answers")
	}
	s.Resume()
	s.Ready()
}

func host(t *testing.T, addr string) string {
	t.Helper()
	h, _, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func contains(file, text string) bool {
	b, err := os.ReadFile(file)
	return err == nil && strings.Contains(string(b), text)
}

// waitFor asks again and again, with a limit that only a broken program
// reaches.
func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	limit := time.NewTimer(time.Minute)
	defer limit.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-limit.C:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}
