package publish

import (
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"kvexpress/test/e2e"
)

// Faults of the network, and of proxies in it, during a publish and an install.

// After many "try again" answers, exactly one version is published.
func TestStorms(t *testing.T) {
	t.Parallel()
	s, _ := e2e.Start(t)
	refuse := func(status int, body string) func(*exchange) {
		return func(e *exchange) { e.say(status, "text/plain", body) }
	}
	for name, refusal := range map[string]func(*exchange){
		"429":           refuse(429, "Your IP is issuing too many concurrent connections, please rate limit your calls"),
		"500":           refuse(500, "rpc error making call: EOF"),
		"500 no leader": refuse(500, "No cluster leader"),
		"503":           refuse(503, "Service Unavailable"),
		"hung up":       (*exchange).hangUp,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := s.On(t)
			key := strings.ReplaceAll(name, " ", "-")
			version := func() uint64 { return s.Manifest("kvexpress/" + key + "/manifest").Version }
			var mu sync.Mutex // a request that is given up may still be here when the next one comes
			luck, failed := rand.New(rand.NewPCG(1, 2)), 0
			unlucky := func() bool {
				mu.Lock()
				defer mu.Unlock()
				if luck.IntN(2) > 0 {
					return false
				}
				failed++
				return true
			}
			storm := newProxy(t, s, func(e *exchange) {
				if unlucky() {
					refusal(e)
					return
				}
				e.pass()
			})
			m := e2e.NewMachine(t, storm)
			m.Ok("in", "-k", key, "-f", m.File("source", e2e.Text("one", 20)))
			if v := version(); v != 1 {
				t.Errorf("version %d is live, want 1", v)
			}
			m.Ok("in", "-k", key, "-f", m.File("source", e2e.Text("two", 20)))
			if v := version(); v != 2 {
				t.Errorf("version %d is live, want 2", v)
			}
			m.Ok("out", "-k", key, "-f", m.Path("hosts"))
			m.Holds("hosts", e2e.Text("two", 20))
			mu.Lock()
			defer mu.Unlock()
			if failed == 0 {
				t.Error("no request failed: there was no storm")
			}
		})
	}
}

// The store fails right after a publish: the write that only hurries its followers is tried once, without a
// message. The publish itself is retried.
func TestHurryIsTriedOnce(t *testing.T) {
	t.Parallel()
	s, _ := e2e.Start(t)
	for name, refused := range map[string]struct{ path, retries string }{
		"the write that hurries": {"kvexpress/hosts/checksum", ""},
		"the control":            {"kvexpress/hosts/manifest", "retrying"},
	} {
		t.Run(name, func(t *testing.T) {
			s := s.On(t)
			for _, k := range s.Keys("kvexpress/") {
				s.Remove(k)
			}
			hurries, tries := 0, 0
			m := e2e.NewMachine(t, newProxy(t, s, func(e *exchange) {
				hurry := e.writes("kvexpress/hosts/checksum") && !e.writes("kvexpress/hosts/manifest")
				if hurry {
					hurries++
				}
				if e.writes(refused.path) && hurry == (refused.retries == "") {
					if tries++; tries <= 3 {
						e.say(http.StatusInternalServerError, "text/plain", "No cluster leader")
						return
					}
				}
				e.pass()
			}))
			r := m.Want(0, "in", "-k", "hosts", "-f", m.File("source", e2e.Text("one", 20)))
			if !strings.Contains(r.Stdout, "published version 1") || hurries != 1 {
				t.Errorf("it hurries %d times, and says %q", hurries, r.Stdout)
			}
			if refused.retries == "" && (tries != 1 || r.Stderr != "") || !strings.Contains(r.Stderr, refused.retries) {
				t.Errorf("the refused write was tried %d times, and it says %q", tries, r.Stderr)
			}
			if v := s.Manifest("kvexpress/hosts/manifest").Version; v != 1 {
				t.Errorf("version %d is live, want 1", v)
			}
		})
	}
}

// The answer to the transaction is lost: `in` finds out whether it was applied, and
// publishes exactly once.
func TestUnknownOutcome(t *testing.T) {
	t.Parallel()
	s, _ := e2e.Start(t)
	for name, lose := range map[string]func(*exchange){
		"applied, no answer":      func(e *exchange) { e.applied(); e.hangUp() },
		"applied, then an error":  func(e *exchange) { e.applied(); e.say(500, "text/plain", "rpc error making call: EOF") },
		"applied, then a proxy's": func(e *exchange) { e.applied(); e.say(504, "text/html", "<html>Gateway Time-out</html>") },
		"applied, half an answer": func(e *exchange) {
			e.applied()
			e.w.Header().Set("Content-Length", "1000")
			e.say(http.StatusOK, "application/json", `{"Results":[`)
		},
		"not applied, no answer":     (*exchange).hangUp,
		"not applied, then an error": func(e *exchange) { e.say(500, "text/plain", "leadership lost while committing log") },
	} {
		for size, content := range map[string]string{"small": e2e.Text("two", 20), "large": e2e.Noise(380<<10, 2)} {
			t.Run(name+", "+size, func(t *testing.T) {
				s := s.On(t)
				for _, k := range s.Keys("kvexpress/") {
					s.Remove(k)
				}
				lost := 0
				addr := newProxy(t, s, func(e *exchange) {
					if e.writes("kvexpress/hosts/manifest") {
						if lost++; lost == 2 { // the flip to version 2
							lose(e)
							return
						}
					}
					e.pass()
				})
				m := e2e.NewMachine(t, addr)
				m.Ok("in", "-k", "hosts", "-f", m.File("source", e2e.Text("one", 20)))
				out := m.Ok("in", "-k", "hosts", "-f", m.File("source", content))
				if !strings.Contains(out, "published version 2") {
					t.Errorf("in says %q", out)
				}
				if lost < 2 {
					t.Fatal("no write was lost: this test sees nothing")
				}
				if now := s.Manifest("kvexpress/hosts/manifest"); now.Version != 2 || now.SHA256 != e2e.Sum(content) {
					t.Errorf("version %d with %s is live, want 2 with %s", now.Version, now.SHA256, e2e.Sum(content))
				}
				got := slices.DeleteFunc(s.Keys("kvexpress/.history/hosts/"), func(path string) bool { return strings.HasSuffix(path, "/pending") })
				if len(got) != 4 {
					t.Errorf("history holds %v, want versions 1 and 2", got)
				}
				m.Ok("out", "-k", "hosts", "-f", m.Path("hosts"))
				m.Holds("hosts", content)
			})
		}
	}
}
