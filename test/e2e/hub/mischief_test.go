//go:build linux

package hub

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/fleet"
	"kvexpress/internal/outcome"
	"kvexpress/internal/wire"
	"kvexpress/test/e2e"
)

// greet connects to a hub as a node, by the protocol alone.
func greet(t *testing.T, addr, name, key string) wire.Conn {
	t.Helper()
	conn, err := wire.Dialer{}.Dial(t.Context(), addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	tell(t, conn, wire.FromAgent{Hello: &wire.Hello{Node: name, Host: name, Prefix: "kvexpress",
		Targets: []wire.Target{{Key: key, Files: []string{"/etc/" + key}}}}})
	return conn
}

func tell(t *testing.T, conn wire.Conn, m wire.FromAgent) {
	t.Helper()
	b, err := wire.Encode(m)
	if err == nil {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err = conn.Write(ctx, b)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// resident is the memory of a process, in MiB.
func resident(t *testing.T, d *e2e.Daemon) (mib int) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", d.Cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(status), "VmRSS:")
	if _, err := fmt.Sscan(after, &mib); err != nil {
		t.Fatal(err)
	}
	return mib / 1024
}

// An agent that never reads costs one snapshot, never a queue, and ends. The others get each version meanwhile.
func TestNeverReads(t *testing.T) {
	t.Parallel()
	x := start(t)
	h := x.Hub("hub")
	x.Publish("large", e2e.Noise(370_000, 0))
	const deaf = 4
	for i := range deaf {
		conn := greet(t, h.Addr, fmt.Sprint("deaf-", i), "large")
		go func() { // it shows that it lives, and never reads
			beat, err := wire.Encode(wire.FromAgent{Beat: &wire.Beat{}})
			for err == nil {
				if err = conn.Write(t.Context(), beat); err == nil {
					e2e.Pause(wire.BeatEvery / 2)
				}
			}
		}()
	}
	d := nodeOf(x, "web-1", "large", h.Addr)
	before := 0
	rounds := 0
	e2e.Within(t, 3*time.Minute, "the hub ends the connections", func() bool {
		rounds++
		content := e2e.Noise(370_000, uint64(rounds))
		x.Publish("large", content)
		d.Delivers("web-1-large", content)
		if rounds == 5 {
			before = resident(t, h.Daemon)
		}
		return h.Metric("slow_agents_total") == deaf
	})
	if now := resident(t, h.Daemon); before > 0 && now > before+64 {
		t.Errorf("after %d versions of 370 KB, the hub has %d MiB, and had %d", rounds, now, before)
	}
	if agents := h.Metric("agents"); agents != 1 {
		t.Errorf("%v agents are left", agents)
	}
}

// nodeOf runs the agent of a node with one target, the file NAME-KEY.
func nodeOf(x *e2e.Site, name, key string, hubs ...string) *e2e.Daemon {
	x.T.Helper()
	x.ConfigWith(name, e2e.Fields{"hubs": hubs}, nil, e2e.Fields{"key": key, "file": x.Path(name + "-" + key), "min_lines": 1})
	return x.Agent(name)
}

// A node that floods the hub with receipts is slowed down. Other nodes are served as before, and the store gets batches.
func TestFloodOfReceipts(t *testing.T) {
	t.Parallel()
	x := start(t)
	h := x.Hub("hub")
	x.Publish("hosts", e2e.Version(1))
	d := node(x, "web-1", nil, h.Addr)
	d.Delivers("web-1-hosts", e2e.Version(1))
	conn := greet(t, h.Addr, "flood", "hosts")
	go func() { // it reads, or it would be taken for deaf
		for {
			if _, err := conn.Read(t.Context()); err != nil {
				return
			}
		}
	}()
	began := time.Now()
	flooding, end := context.WithCancel(t.Context())
	sent := make(chan int)
	go func() {
		n := 0
		defer func() { sent <- n }()
		for words := []outcome.Outcome{outcome.Converged, outcome.Missing}; flooding.Err() == nil; n++ {
			part, err := json.Marshal(fleet.Part{Host: "flood", Agent: fleet.Agent{Every: fleet.Millis(time.Minute)},
				Targets: []fleet.Target{{By: fleet.ByAgent, Key: "hosts", File: "/etc/hosts", Outcome: words[n%2]}}})
			if err != nil {
				t.Error(err)
				return
			}
			m, err := wire.Encode(wire.FromAgent{Receipt: part})
			if err != nil || conn.Write(flooding, m) != nil {
				return
			}
		}
	}()
	for n := 2; n <= 10; n++ {
		x.Ok("in", "-k", "hosts", "-f", x.File("source", e2e.Version(n)))
		d.Delivers("web-1-hosts", e2e.Version(n))
		e2e.Eventually(t, "the receipt of web-1 comes", func() bool {
			r := report(x, h.Addr, "hosts")
			return r.Nodes == 2 && r.Converged >= 1
		})
	}
	taken, written, batches := h.Metric("receipts_total"), h.Metric("receipts_written_total"), h.Metric(`receipt_batches_total{result="written"}`)
	took := time.Since(began).Seconds()
	end()
	t.Logf("in %.1f s: %d sent, %v taken, %v written in %v transactions", took, <-sent, taken, written, batches)
	if taken > 50*took+100 || written > 20*took+20 || taken < 10 {
		t.Errorf("in %.1f s: %v receipts were taken, %v written", took, taken, written)
	}
}

// Two live nodes of one name are an alarm: in the log and as a metric. It ends with one of them.
func TestTwins(t *testing.T) {
	t.Parallel()
	x := start(t)
	h := x.Hub("hub")
	x.Publish("hosts", e2e.Version(1))
	one := node(x, "one", e2e.Fields{"node": "web-1"}, h.Addr)
	one.Delivers("one-hosts", e2e.Version(1))
	if got := h.Metric("duplicate_nodes"); got != 0 {
		t.Errorf("%v duplicate names with one agent", got)
	}
	two := node(x, "two", e2e.Fields{"node": "web-1"}, h.Addr)
	two.Delivers("two-hosts", e2e.Version(1))
	says(h.Daemon, "two nodes have one name", "web-1", "agent.yml")
	e2e.Eventually(t, "the metric says so", func() bool { return h.Metric("duplicate_nodes") == 1 })
	two.Kill()
	e2e.Eventually(t, "the metric is 0 again", func() bool { return h.Metric("duplicate_nodes") == 0 })
	x.Publish("hosts", e2e.Version(2))
	one.Delivers("one-hosts", e2e.Version(2))
}
