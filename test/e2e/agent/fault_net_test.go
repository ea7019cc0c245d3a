//go:build linux

package agent

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"kvexpress/internal/outcome"
	"kvexpress/test/e2e"
)

// maxMemory is the most that an agent may ever have resident, in KiB, whatever it is sent.
const maxMemory = 64 << 10

// endless is a source of memory without an end.
type endless struct {
	name   string
	meddle meddler
}

func endlessAnswers() []endless {
	pour := func(w http.ResponseWriter, chunk string) {
		b := []byte(strings.Repeat(chunk, 1+(64<<10)/len(chunk)))
		for {
			if _, err := w.Write(b); err != nil {
				return
			}
		}
	}
	watches := func(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, "/v1/kv/") }
	return []endless{
		{"an endless value", func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if !watches(r) {
				next.ServeHTTP(w, r)
				return
			}
			w.Header().Set("X-Consul-Index", fmt.Sprint(rand.N(1<<40)))
			pour(w, "127.0.0.1 endless\n")
		}},
		{"an endless answer", func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if watches(r) {
				next.ServeHTTP(w, r)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"Results":[`)
			pour(w, `{"KV":{"Key":"x","Value":"`+strings.Repeat("A", 1000)+`","CreateIndex":1}},`)
		}},
	}
}

// agentAndEndless: whatever the store sends, an agent's memory stays small. With the caps on a
// watched value and on an answer raised to 200 MiB, 560 MiB and more were resident.
func agentAndEndless(t *testing.T, c *e2e.Cluster) {
	parts := e2e.Parts{}
	for _, e := range endlessAnswers() {
		parts[e.name] = func(t *testing.T) { agentAndEndlessAnswer(t, c, e.meddle) }
	}
	e2e.Together(t, parts)
}

func agentAndEndlessAnswer(t *testing.T, c *e2e.Cluster, meddle meddler) {
	x := c.Site(t, 0)
	front := newFront(t, x.Store.Server.Addr)
	x.Publish("hosts", e2e.Version(1))
	agentConfig(x, "agent", []string{front.addr}, to(x, "hosts"))
	d := x.Agent("agent")
	d.Delivers("hosts", e2e.Version(1))
	from := time.Now()
	front.with(meddle)
	x.Publish("hosts", e2e.Version(2))
	e2e.Pause(time.Second)
	x.Publish("hosts", e2e.Version(3))
	d.Becomes("hosts", outcome.Unreachable)
	e2e.Eventually(t, "it tries again", func() bool { return front.requests.since(from) > 3 })
	if n := number(x, "hosts"); n < 1 || n > 3 {
		t.Errorf("the file holds %s", e2e.Brief(x.Read("hosts")))
	}
	front.with(nil)
	x.Publish("hosts", e2e.Version(4))
	d.Delivers("hosts", e2e.Version(4))
	frugal(d, maxMemory)
}

// frugal fails the test if the agent ever had more resident than so many KiB.
func frugal(d *e2e.Daemon, allowed int) {
	d.T.Helper()
	most := memory(d, "VmHWM")
	d.T.Logf("at most %.1f MiB were resident", float64(most)/1024)
	if most > allowed {
		d.T.Errorf("%d KiB were resident, at most %d are allowed", most, allowed)
	}
}

// blackHole: answers disappear without an error, and connections stay open. The agent notices, and opens new ones. The function that it
// returns checks the rest, after a while. Without the time limit of a watch, the agent would never notice.
func blackHole(t *testing.T, c *e2e.Cluster) (rest func()) {
	x := c.Site(t, 1)
	front := newFront(t, x.Store.Server.Addr)
	var hole atomic.Bool
	front.hole(&hole)
	x.Publish("hole", e2e.Version(1))
	agentConfig(x, "agent", []string{front.addr}, to(x, "hole"))
	d := x.Agent("agent")
	d.Delivers("hole", e2e.Version(1))
	hole.Store(true)
	from := time.Now()
	x.Publish("hole", e2e.Version(2))
	return func() {
		e2e.Within(t, 2*time.Minute, "the agent notices", func() bool { return !d.Status().Store.Up })
		noticed := time.Since(from)
		t.Logf("black hole: noticed within %v", noticed.Round(time.Second))
		if noticed > 90*time.Second {
			t.Errorf("it took %v", noticed)
		}
		x.Holds("hole", e2e.Version(1))
		hole.Store(false)
		began := time.Now()
		d.Delivers("hole", e2e.Version(2))
		t.Logf("delivered %v after the end of the hole", time.Since(began).Round(time.Millisecond))
	}
}
