//go:build linux

package fleet

import (
	"fmt"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/fleet"
	"kvexpress/internal/outcome"
	"kvexpress/internal/testutil/consultest"
	"kvexpress/test/e2e"
)

// exported is a `kvexpress hub` whose metrics are read.
type exported struct{ *e2e.Hub }

// says waits until the metrics have all of these lines.
func (x exported) says(lines ...string) {
	x.T.Helper()
	limit := time.Now().Add(time.Minute)
	for {
		now, missing := "\n"+x.Get("/metrics"), ""
		for _, line := range lines {
			if !strings.Contains(now, "\nkvexpress_fleet_"+line+"\n") {
				missing = line
			}
		}
		if missing == "" {
			return
		}
		if time.Now().After(limit) {
			x.T.Fatalf("the hub never says %s, but\n%s", missing, now)
		}
		<-time.After(100 * time.Millisecond)
	}
}

// The hub reports a fleet of two agents, one with a failing exec, and of a node without contact,
// while its store becomes unreachable and comes back.
func TestHub(t *testing.T) {
	t.Parallel()
	s := consultest.Start(t, consultest.WithData())
	m := e2e.NewMachine(t, s.Addr)
	// A node whose last receipt is an hour old. It must be written first: a receipt counts as
	// younger than all receipts that the store has already.
	st := &e2e.Store{T: t, Server: s}
	old := fleet.Receipt{
		Node: "web-c", Sent: time.Now().Add(-time.Hour), Agent: &fleet.Agent{Version: "2.0.0", Every: fleet.Millis(time.Minute)},
		Targets: []fleet.Target{{By: fleet.ByAgent, Key: "hosts", File: "/etc/hosts", Outcome: outcome.Missing}},
	}
	value, flags, err := old.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if status, answer := st.Request(http.MethodPut, fmt.Sprintf("/v1/kv/kvexpress-nodes/web-c?flags=%d", flags),
		value); status != http.StatusOK {
		t.Fatalf("%d %s", status, answer)
	}
	x := exported{m.Hub("hub", "--read-every", "5s", "--per-node")}
	x.says("up 1", "receipts 1", `published{key="hosts"} 0`)

	content := m.Publish(e2e.Text("one", 20))
	m.Configure("a", e2e.Fields{"node": "web-a"}, e2e.Fields{"key": "hosts", "file": m.Path("a-hosts"), "exec": "true"})
	m.Configure("b", e2e.Fields{"node": "web-b"}, e2e.Fields{"key": "hosts", "file": m.Path("b-hosts"), "exec": "sh -c 'exit 3'"})
	a := m.Agent("a")
	m.Agent("b")
	a.Delivers("a-hosts", content)
	x.says(`nodes{key="hosts",outcome="converged"} 1`, `nodes{key="hosts",outcome="pending"} 1`,
		`node_outcome{key="hosts",node="web-b",outcome="pending"} 1`, `version{key="hosts"} 1`, `stopped{key="hosts"} 0`, `receipts 3`)

	m.Ok("stop", "-k", "hosts", "-r", "bad data")
	m.Ok("lock", "-f", m.Path("a-hosts"), "-r", "looking into it")
	x.says(`nodes{key="hosts",outcome="no_contact"} 1`, `node_outcome{key="hosts",node="web-c",outcome="no_contact"} 1`,
		`stopped{key="hosts"} 1`, `locks 1`)
	if since := regexp.MustCompile(`stopped_since_timestamp_seconds\{key="hosts"\} [0-9]{9}`); !since.MatchString(x.Get("/metrics")) {
		t.Error("it does not say since when the key is stopped")
	}

	// Without the store, the hub serves its last values, and fleet_up is 0.
	s.Stop()
	x.says("up 0", `nodes{key="hosts",outcome="no_contact"} 1`)
	if x.Get("/healthz") == "" || x.Get("/readyz") == "" {
		t.Error("it is not healthy, or not ready any more")
	}
	s.Restart()
	x.says("up 1", `stopped{key="hosts"} 1`)
	m.Ok("resume", "-k", "hosts")
	m.Ok("unlock", "-f", m.Path("a-hosts"))
	x.says(`stopped{key="hosts"} 0`, "locks 0")

	x.EndsWell()
}

// The hub sends systemd its start, status, watchdog and end, also without a store.
func TestHubNotifiesSystemd(t *testing.T) {
	t.Parallel()
	systemd, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: "@kvexpress-" + e2e.Sum(t.TempDir())[:16], Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer systemd.Close()
	told := func(begin string) {
		t.Helper()
		if err := systemd.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		for b := make([]byte, 64<<10); ; {
			size, err := systemd.Read(b)
			if err != nil {
				t.Fatalf("systemd is never told %s: %v", begin, err)
			}
			if strings.HasPrefix(string(b[:size]), begin) {
				return
			}
		}
	}
	m := e2e.NewMachine(t, "127.0.0.1:1", "NOTIFY_SOCKET="+systemd.LocalAddr().String(), "WATCHDOG_USEC=600000")
	x := exported{m.Hub("hub")}
	told("READY=1")
	told("STATUS=")
	told("WATCHDOG=1")
	if x.Get("/readyz") != "" {
		t.Error("it is ready without having seen anything")
	}
	x.EndsWell()
	told("STOPPING=1")
}
