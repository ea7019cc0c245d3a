package publish

import (
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"kvexpress/internal/e2e"
)

// What a network, and whatever stands in it, does to a publish and a delivery.

func TestConsulAway(t *testing.T) {
	t.Parallel()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	m := e2e.NewMachine(t, l.Addr().String())
	m.File("hosts", "kept\n")
	m.File("source", e2e.Text("one", 20))
	for _, args := range [][]string{
		{"out", "-k", "hosts", "-f", m.Path("hosts")},
		{"raw", "-k", "kvexpress/hosts/data", "-f", m.Path("hosts")},
		{"in", "-k", "hosts", "-f", m.Path("source")},
		{"copy", "--keyfrom", "hosts", "--keyto", "other"},
		{"stop", "-k", "hosts", "-r", "a reason"},
		{"resume", "-k", "hosts"},
		{"lock", "-f", m.Path("hosts")},
		{"unlock", "-f", m.Path("hosts")},
	} {
		words := []string{l.Addr().String(), "could not be reached", "CONSUL_HTTP_ADDR"}
		m.Fails(7, words, append(args, "--retry-for", "0s")...)
		r := m.Want(7, append(args, "--retry-for", "300ms")...)
		if !strings.Contains(r.Stderr, "gave up after") {
			t.Errorf("%v: nothing tells that it was tried again: %s", args, r.Stderr)
		}
	}
	m.Holds("hosts", "kept\n")
	if m.Read("hosts.locked") != "" {
		t.Error("a lock that was not set left its marker")
	}
}

// A captive portal, a proxy's error page, another server.
func TestNotConsul(t *testing.T) {
	t.Parallel()
	s, _ := e2e.Start(t)
	for name, answer := range map[string]func(*exchange){
		"a login page":         func(e *exchange) { e.say(200, "text/html", "<html>Log in, and all is true</html>") },
		"true":                 func(e *exchange) { e.say(200, "application/json", "true") },
		"an empty object":      func(e *exchange) { e.say(200, "application/json", "{}") },
		"a page not found":     func(e *exchange) { e.say(404, "text/html", "<html>404</html>") },
		"a redirect elsewhere": func(e *exchange) { e.w.Header().Set("Location", "http://localhost:1/"); e.say(302, "text/html", "") },
		"a conflict of its own": func(e *exchange) {
			e.say(409, "application/json", `{"Results":null,"Errors":null}`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := e2e.NewMachine(t, newProxy(t, s.On(t), answer))
			m.File("hosts", "kept\n")
			m.File("source", e2e.Text("one", 20))
			m.Fails(7, []string{"address"}, "out", "-k", "hosts", "-f", m.Path("hosts"))
			m.Fails(7, []string{"address"}, "in", "-k", "hosts", "-f", m.Path("source"))
			m.Fails(7, []string{"address"}, "stop", "-k", "hosts", "-r", "a reason")
			m.Fails(7, []string{"address"}, "lock", "-f", m.Path("hosts"))
			m.Holds("hosts", "kept\n")
		})
	}
	if got := s.Keys("kvexpress/"); len(got) > 0 {
		t.Errorf("something was written: %v", got)
	}
}

// Storms of "try again" are sat out, and end in exactly one version.
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
				t.Errorf("version %d stands, want 1", v)
			}
			m.Ok("in", "-k", key, "-f", m.File("source", e2e.Text("two", 20)))
			if v := version(); v != 2 {
				t.Errorf("version %d stands, want 2", v)
			}
			m.Ok("out", "-k", key, "-f", m.Path("hosts"))
			m.Holds("hosts", e2e.Text("two", 20))
			mu.Lock()
			defer mu.Unlock()
			if failed == 0 {
				t.Error("no request failed: there was no storm")
			}

			endless := e2e.NewMachine(t, newProxy(t, s, refusal))
			endless.File("hosts", "kept\n")
			for _, args := range [][]string{
				{"out", "-k", key, "-f", endless.Path("hosts")},
				{"in", "-k", key, "-f", endless.File("source", e2e.Text("three", 20))},
			} {
				endless.Want(7, append(args, "--retry-for", "500ms")...)
			}
			endless.Holds("hosts", "kept\n")
		})
	}
}

// The store has trouble right after a publish: what is sent only to hurry its followers is tried once, and nobody
// hears of it. The control: the publish itself is tried again.
func TestHurryIsTriedOnce(t *testing.T) {
	t.Parallel()
	s, _ := e2e.Start(t)
	for name, refused := range map[string]struct{ path, retries string }{
		"the write that hurries": {"kvexpress/hosts/checksum", ""},
		"the control":            {"kvexpress/hosts/manifest", "trying again"},
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
				t.Errorf("what was refused was tried %d times, and it says %q", tries, r.Stderr)
			}
			if v := s.Manifest("kvexpress/hosts/manifest").Version; v != 1 {
				t.Errorf("version %d stands, want 1", v)
			}
		})
	}
}

// The answer to the transaction is lost: whether it was applied or not, `in` finds
// out, and publishes exactly once.
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
					t.Errorf("version %d with %s stands, want 2 with %s", now.Version, now.SHA256, e2e.Sum(content))
				}
				if got := s.Keys("kvexpress/.history/hosts/"); len(got) != 4 {
					t.Errorf("history holds %v, want versions 1 and 2", got)
				}
				m.Ok("out", "-k", "hosts", "-f", m.Path("hosts"))
				m.Holds("hosts", content)
			})
		}
	}
}

// A stop and a lock whose answer is lost are set all the same.
func TestUnknownOutcomeOfAFreeze(t *testing.T) {
	t.Parallel()
	s, _ := e2e.Start(t)
	broken := 0
	addr := newProxy(t, s, func(e *exchange) {
		if e.writes("kvexpress/hosts/stop") {
			if broken++; broken == 1 {
				e.applied()
				e.hangUp()
				return
			}
		}
		e.pass()
	})
	m := e2e.NewMachine(t, addr)
	m.Ok("stop", "-k", "hosts", "-r", "a reason")
	if got := s.Value("kvexpress/hosts/stop"); got != "a reason" || broken != 2 {
		t.Errorf("the stop says %q after %d attempts, want \"a reason\" after 2", got, broken)
	}
}
