//go:build linux

package e2e

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"kvexpress/internal/agent"
)

// The most that an agent may ever have resident, in KiB, whatever it is sent. What is
// packed may hold 16 MiB, and is unpacked with a few times as much.
const (
	maxMemory     = 64 << 10
	maxBombMemory = 96 << 10
)

// agentAndResets is fault 28: connections are reset at any byte of an answer. Each
// version arrives all the same, and nothing else ever does. Taken out: the look at
// whether an answer is whole, and that at its checksum; then torn files are in place.
func agentAndResets(t *testing.T, c *cluster) {
	var parts []part
	for i := range 8 {
		parts = append(parts, part{fmt.Sprint(i), func(t *testing.T) {
			x := c.site(t, i%3)
			w := newWire(t, x.store.server.Addr)
			x.publish("hosts", version(1))
			x.config("agent", []string{w.addr}, x.to("hosts"))
			d := x.agent("agent")
			d.delivers("hosts", version(1))
			defer x.follow("hosts")()
			for n := range times(50) {
				// Somewhere in the answer to the watch, or to the reads that follow.
				w.cut.Store(rand.N[int64](2_500))
				x.publish("hosts", version(n+2))
				d.delivers("hosts", version(n+2))
			}
			t.Logf("%d resets", w.resets.since(time.Time{}))
			if w.resets.since(time.Time{}) == 0 {
				t.Error("nothing was reset: this test sees nothing")
			}
		}})
	}
	together(t, parts...)
}

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
		{"an endless error", func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			w.WriteHeader(http.StatusInternalServerError)
			pour(w, "no ")
		}},
		{"deep JSON", func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if watches(r) {
				next.ServeHTTP(w, r)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, strings.Repeat(`{"Results":[`, 600_000))
		}},
		{"endless headers", func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			defer conn.Close()
			line := []byte("HTTP/1.1 200 OK\r\n")
			for err == nil {
				_, err = conn.Write(line)
				line = []byte("X-More: " + strings.Repeat("x", 10_000) + "\r\n")
			}
		}},
	}
}

// agentAndEndless is fault 30: whatever it is sent, an agent's memory stays small.
// Taken out: the caps on a watched value, on an answer and on what is unpacked, which
// were raised to 200 and 160 MiB; then 560 to 670 MiB were resident.
func agentAndEndless(t *testing.T, c *cluster) {
	var parts []part
	for _, e := range endlessAnswers() {
		parts = append(parts, part{e.name, func(t *testing.T) { agentAndEndlessAnswer(t, c, e.meddle) }})
	}
	for name, bomb := range map[string]func(io.Writer) io.WriteCloser{
		"zstd":   func(w io.Writer) io.WriteCloser { z, _ := zstd.NewWriter(w); return z },
		"brotli": func(w io.Writer) io.WriteCloser { return brotli.NewWriterLevel(w, 5) },
		"gzip":   func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) },
	} {
		parts = append(parts, part{"a bomb of " + name, func(t *testing.T) { agentAndBomb(t, c, name, bomb) }})
	}
	together(t, parts...)
}

func agentAndEndlessAnswer(t *testing.T, c *cluster, meddle meddler) {
	x := c.site(t, 0)
	front := newFront(t, x.store.server.Addr)
	x.publish("hosts", version(1))
	x.config("agent", []string{front.addr}, x.to("hosts"))
	d := x.agent("agent")
	d.delivers("hosts", version(1))
	from := time.Now()
	front.with(meddle)
	x.publish("hosts", version(2))
	pause(time.Second)
	x.publish("hosts", version(3))
	d.becomes("hosts", agent.Away)
	eventually(t, "it tries again", func() bool { return front.requests.since(from) > 3 })
	if n := x.number("hosts"); n < 1 || n > 3 {
		t.Errorf("the file holds %s", brief(x.read("hosts")))
	}
	front.with(nil)
	x.publish("hosts", version(4))
	d.delivers("hosts", version(4))
	d.frugal(maxMemory)
}

// frugal fails the test if the agent ever had more resident than so many KiB.
func (d *daemon) frugal(allowed int) {
	d.t.Helper()
	most := d.memory("VmHWM")
	d.t.Logf("at most %.1f MiB were resident", float64(most)/1024)
	if most > allowed {
		d.t.Errorf("%d KiB were resident, at most %d are allowed", most, allowed)
	}
}

// agentAndBomb publishes a few KB, in the way of 1.x or past our own limits, that
// unpack to very much more.
func agentAndBomb(t *testing.T, c *cluster, name string, packer func(io.Writer) io.WriteCloser) {
	const size = 4 * maxMemory << 10
	var packed bytes.Buffer
	w := packer(&packed)
	chunk := make([]byte, 1<<20)
	for range size / len(chunk) {
		if _, err := w.Write(chunk); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	x := c.site(t, 0)
	x.publish("hosts", version(1))
	x.config("agent", nil, x.to("hosts"))
	d := x.agent("agent")
	d.delivers("hosts", version(1))
	x.store.remove(x.row("hosts", "manifest"))
	value, flags := packed.String(), uint64(0)
	switch name {
	case "zstd":
		flags = 2
	case "brotli":
		flags = 1
	case "gzip":
		value = base64.StdEncoding.EncodeToString(packed.Bytes())
	}
	x.store.put(x.row("hosts", "data"), value, flags)
	x.store.put(x.row("hosts", "checksum"), sum("whatever"), 0)
	t.Logf("%d bytes for %d MiB", len(value), size>>20)
	d.becomes("hosts", agent.Refused)
	x.holds("hosts", version(1))
	x.publish("hosts", version(2))
	d.delivers("hosts", version(2))
	d.frugal(maxBombMemory)
}

// slowAnswer is fault 29: a server that sends one byte a second, in the middle of all
// that it says. The file stays whole, the agent gives up, and goes on when the server
// is itself again. The function that it returns is the rest, after a while. Taken out,
// for this and the next: the time limit of a watch; then nobody ever notices.
func slowAnswer(t *testing.T, c *cluster) (rest func()) {
	x := c.site(t, 0)
	w := newWire(t, x.store.server.Addr)
	x.publish("slow", version(1))
	x.config("agent", []string{w.addr}, x.to("slow"))
	d := x.agent("agent")
	d.delivers("slow", version(1))
	w.slow.Store(true)
	from := time.Now()
	x.publish("slow", version(2))
	return func() {
		// The beginning of an answer may take as long as a watch, which is a minute
		// and a little.
		within(t, 2*time.Minute, "the agent gives up", func() bool { return !d.status().Store.Up })
		t.Logf("1 byte a second: given up within %v", time.Since(from).Round(time.Second))
		x.holds("slow", version(1))
		w.slow.Store(false)
		x.publish("slow", version(3))
		d.delivers("slow", version(3))
	}
}

// blackHole is fault 27: nothing gets through a connection any more, and nobody says
// so. The agent notices, and goes on over a new one. The function that it returns is
// the rest, after a while.
func blackHole(t *testing.T, c *cluster) (rest func()) {
	x := c.site(t, 1)
	w := newWire(t, x.store.server.Addr)
	x.publish("hole", version(1))
	x.config("agent", []string{w.addr}, x.to("hole"))
	d := x.agent("agent")
	d.delivers("hole", version(1))
	w.hole(true)
	from := time.Now()
	x.publish("hole", version(2))
	return func() {
		within(t, 2*time.Minute, "the agent notices", func() bool { return !d.status().Store.Up })
		noticed := time.Since(from)
		t.Logf("black hole: noticed within %v", noticed.Round(time.Second))
		if noticed > 90*time.Second {
			t.Errorf("it took %v", noticed)
		}
		x.holds("hole", version(1))
		w.hole(false)
		began := time.Now()
		d.delivers("hole", version(2))
		t.Logf("delivered %v after the end of the hole", time.Since(began).Round(time.Millisecond))
	}
}
