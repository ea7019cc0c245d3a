package publish

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// inbox collects the datagrams of one kvexpress after the other.
type inbox struct {
	t    *testing.T
	conn net.PacketConn
	addr string
}

// newInbox listens as a Datadog Agent does.
func newInbox(t *testing.T) *inbox {
	t.Helper()
	conn, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	return openInbox(t, conn, err)
}

// newSyslog listens as a syslog daemon does.
func newSyslog(t *testing.T) *inbox {
	t.Helper()
	dir, err := os.MkdirTemp("", "kx") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	conn, err := new(net.ListenConfig).ListenPacket(t.Context(), "unixgram", filepath.Join(dir, "log"))
	return openInbox(t, conn, err)
}

func openInbox(t *testing.T, conn net.PacketConn, err error) *inbox {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &inbox{t: t, conn: conn, addr: conn.LocalAddr().String()}
}

// lines takes all that has arrived. Datagrams of a process that has ended
// have arrived already: a mark, sent after them, comes last.
func (in *inbox) lines() []string {
	in.t.Helper()
	const mark = "the end"
	out, err := new(net.Dialer).DialContext(in.t.Context(), in.conn.LocalAddr().Network(), in.addr)
	if err != nil {
		in.t.Fatal(err)
	}
	defer out.Close()
	if _, err := out.Write([]byte(mark)); err != nil {
		in.t.Fatal(err)
	}
	var lines []string
	buffer := make([]byte, 64<<10)
	for {
		n, _, err := in.conn.ReadFrom(buffer)
		if err != nil {
			in.t.Fatal(err)
		}
		if string(buffer[:n]) == mark {
			return lines
		}
		lines = append(lines, strings.Split(strings.TrimSuffix(string(buffer[:n]), "\n"), "\n")...)
	}
}

// metrics are the lines in order, without the value of kvexpress.time, which
// differs each time.
func (in *inbox) metrics() []string {
	in.t.Helper()
	lines := in.lines()
	for i, line := range lines {
		if rest, ok := strings.CutPrefix(line, "kvexpress.time:"); ok {
			_, tags, _ := strings.Cut(rest, "|")
			lines[i] = "kvexpress.time|" + tags
		}
	}
	slices.Sort(lines)
	return lines
}

// event is an event for Datadog.
type event struct {
	Title     string   `json:"title"`
	Text      string   `json:"text"`
	AlertType string   `json:"alert_type"`
	Tags      []string `json:"tags"`

	path, apiKey, appKey string
}

// datadog is a stand-in for Datadog's API.
type datadog struct {
	url string

	mu     sync.Mutex
	events []event
}

func newDatadog(t *testing.T) *datadog {
	t.Helper()
	d := &datadog{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e := event{path: r.Method + " " + r.URL.Path, apiKey: r.Header.Get("DD-API-KEY"), appKey: r.Header.Get("DD-APPLICATION-KEY")}
		if err := json.NewDecoder(r.Body).Decode(&e); err != nil {
			t.Errorf("an event is not JSON: %v", err)
		}
		d.mu.Lock()
		d.events = append(d.events, e)
		d.mu.Unlock()
		w.WriteHeader(http.StatusAccepted)
	}))
	t.Cleanup(server.Close)
	d.url = server.URL
	return d
}

// take returns the events that have arrived since the last time.
func (d *datadog) take() []event {
	d.mu.Lock()
	defer d.mu.Unlock()
	taken := d.events
	d.events = nil
	return taken
}
