//go:build linux

package agent

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"kvexpress/internal/kv"
	"kvexpress/internal/publish"
	"kvexpress/internal/record"
	"kvexpress/internal/store/consul"
	"kvexpress/internal/testutil/consultest"
	"kvexpress/test/e2e"
)

// stock is a Consul that allows as many connections of one address as it does by itself.
func stock(t *testing.T) (*e2e.Store, *e2e.Machine) {
	t.Helper()
	return e2e.Start(t, consultest.WithData(), consultest.WithConfig(map[string]any{
		"limits": map[string]any{"http_max_conns_per_client": 200},
	}))
}

// many is a node with many targets.
type many struct {
	*e2e.Machine
	store   *e2e.Store
	pub     publish.Publisher
	targets int
	content string
	agent   *e2e.Daemon
}

func newMany(t *testing.T, targets int) *many {
	t.Helper()
	s, m := stock(t)
	client, err := consul.New(consul.Options{Addr: s.Server.Addr})
	if err != nil {
		t.Fatal(err)
	}
	layout, err := kv.NewLayout("kvexpress")
	if err != nil {
		t.Fatal(err)
	}
	n := &many{Machine: m, store: s, targets: targets, pub: publish.Publisher{Store: client, Layout: layout, By: "test"}}
	n.configure(300)
	return n
}

// configure writes the agent's configuration. With other seconds no target stays as it was.
func (n *many) configure(reconcile int) {
	n.T.Helper()
	var all []e2e.Fields
	for i := range n.targets {
		all = append(all, e2e.Fields{"key": n.key(i), "file": n.Path(string(n.key(i)))})
	}
	n.Configure("agent", e2e.Fields{"reconcile": fmt.Sprint(reconcile, "s")}, all...)
}

func (n *many) key(i int) kv.Key { return kv.Key(fmt.Sprintf("key-%04d", i)) }

// publish publishes other content of all keys, by several publishers.
func (n *many) publish(content string) {
	n.T.Helper()
	n.content = content
	var all sync.WaitGroup
	for worker := range 4 {
		all.Go(func() {
			for i := worker; i < n.targets; i += 4 {
				if _, err := n.pub.Publish(n.T.Context(), publish.Request{Key: n.key(i), Content: []byte(content)}); err != nil {
					n.T.Error(err)
				}
			}
		})
	}
	all.Wait()
	if n.T.Failed() {
		n.T.FailNow()
	}
}

// publishAtOnce publishes content in brotli under the first key, and copies its rows to all others, in few transactions.
func (n *many) publishAtOnce(content string) {
	n.T.Helper()
	n.content = content
	request := publish.Request{Key: n.key(0), Content: []byte(content), Encoding: record.Brotli}
	if _, err := n.pub.Publish(n.T.Context(), request); err != nil {
		n.T.Fatal(err)
	}
	l := n.pub.Layout
	from := []string{l.Data(n.key(0)), l.Checksum(n.key(0)), l.Manifest(n.key(0))}
	rows, err := n.pub.Store.Read(n.T.Context(), kv.Consistent, from...)
	if err != nil {
		n.T.Fatal(err)
	}
	var ops []kv.Op
	for i := 1; i < n.targets; i++ {
		for j, to := range []string{l.Data(n.key(i)), l.Checksum(n.key(i)), l.Manifest(n.key(i))} {
			row := rows[from[j]]
			if j == 2 {
				row.Value = bytes.ReplaceAll(row.Value, []byte(n.key(0)), []byte(n.key(i)))
			}
			ops = append(ops, kv.Op{Verb: kv.Set, Path: to, Value: row.Value, Flags: row.Flags})
		}
	}
	for some := range slices.Chunk(ops, kv.MaxOps/3*3) {
		if _, err := n.pub.Store.Commit(n.T.Context(), some); err != nil {
			n.T.Fatal(err)
		}
	}
}

// delivered waits until all files hold the last version, and returns how long that took.
func (n *many) delivered(what string) time.Duration {
	n.T.Helper()
	return n.deliveredWhile(what, func() {})
}

// deliveredWhile is delivered, and does something again and again meanwhile.
func (n *many) deliveredWhile(what string, do func()) (took time.Duration) {
	n.T.Helper()
	took = e2e.Within(n.T, 2*time.Minute, what+": all files are right", func() bool {
		do()
		for i := range n.targets {
			if n.Read(string(n.key(i))) != n.content {
				return false
			}
		}
		return true
	})
	n.T.Logf("%d targets, %s: all right %v after the last publish", n.targets, what, took.Round(10*time.Millisecond))
	return took
}

// bystander sends requests to the same Consul, from the same address, until it is ended. It returns how often the answer was
// "too many connections".
func bystander(t *testing.T, addr string) (end func() int) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	refused := make(chan int)
	go func() {
		n := 0
		defer func() { refused <- n }()
		client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
		for ctx.Err() == nil {
			if resp, err := client.Get("http://" + addr + "/v1/status/leader"); err == nil {
				resp.Body.Close()
				if resp.StatusCode == http.StatusTooManyRequests {
					n++
				}
			}
			e2e.Pause(25 * time.Millisecond)
		}
	}()
	return func() int { cancel(); return <-refused }
}

// On a Consul with its own limits, an agent of many targets is restarted, reloaded again and again, and its Consul is
// restarted. No client at that address ever gets "too many connections", and all files converge.
func TestManyTargetsOnAStockConsul(t *testing.T) {
	t.Parallel()
	for _, targets := range []int{60, 150} {
		t.Run(fmt.Sprint(targets, " targets"), func(t *testing.T) {
			t.Parallel()
			n := newMany(t, targets)
			end := bystander(t, n.store.Server.Addr)
			n.publish("one\n")
			n.agent = n.Agent("agent")
			n.delivered("start")
			if e2e.Times(10) > 1 { // until the waits are as long as they ever are
				e2e.Pause(150 * time.Second)
			}
			for i := range 3 {
				n.agent.Stop()
				n.publish(fmt.Sprint("restart ", i, "\n"))
				n.agent = n.Agent("agent")
				n.delivered("restart")
			}
			for i := range 5 {
				n.configure(301 + i)
				n.agent.Signal(syscall.SIGHUP)
				e2e.Pause(time.Second)
			}
			n.publish("reloads\n")
			n.delivered("five reloads")
			refused := end()
			n.store.Server.Kill()
			n.store.Server.Restart()
			end = bystander(t, n.store.Server.Addr)
			n.publish("Consul\n")
			n.delivered("Consul restarted")
			n.publish("after\n")
			n.delivered("after that")
			if refused += end(); refused > 0 {
				t.Errorf("%d requests of others were refused", refused)
			}
			n.agent.EndsWell()
		})
	}
}

// Many small values decode to 16 MiB each, and all change at one moment. The memory of an agent for them has a limit in
// sum. Without the limit, it would hold a file for each target.
func TestManyLargeFilesAtOnce(t *testing.T) {
	t.Parallel()
	n := newMany(t, max(40, e2e.Times(150)))
	n.publish("one\n")
	n.agent = n.Agent("agent")
	n.delivered("start")
	for _, letter := range []string{"a", "b"} { // the second time large files are replaced
		n.publishAtOnce(strings.Repeat(letter, record.MaxPlain))
		n.delivered("all are large")
	}
	peak := memory(n.agent, "VmHWM") >> 10
	t.Logf("%d targets of 16 MiB: at most %d MiB resident", n.targets, peak)
	if peak > 512 { // with what the garbage collector has not taken yet
		t.Errorf("at most %d MiB resident", peak)
	}
	n.agent.EndsWell()
}

// All files of an agent with as many targets as are allowed are new, in one folder; then all change at one moment, on a Consul
// with its own limits. The agent opens few connections, no client gets "too many connections", and the store never counts
// as unreachable.
func TestManyTargetsChangeAtOnce(t *testing.T) {
	t.Parallel()
	n := newMany(t, e2e.Times(4096))
	n.publishAtOnce("one\n")
	end := bystander(t, n.store.Server.Addr)
	n.agent = n.Agent("agent")
	if took := n.delivered("start"); e2e.Times(10) > 1 && took > time.Minute {
		t.Errorf("new files in one folder took %v", took)
	}
	most := 0
	for i := range 3 {
		n.publishAtOnce(fmt.Sprint("again ", i, "\n"))
		n.deliveredWhile("all change at once", func() { most = max(most, connections(t, n.agent.Cmd.Process.Pid)) })
	}
	t.Logf("at most %d connections", most)
	if most > 100 {
		t.Errorf("at most %d connections", most)
	}
	if refused := end(); refused > 0 {
		t.Errorf("%d requests of others were refused", refused)
	}
	if said := n.agent.Said(); strings.Contains(said, "store unreachable") {
		t.Error("the store counted as unreachable")
	}
	n.agent.EndsWell()
}

// connections is how many a process has, sockets that it listens on included.
func connections(t *testing.T, pid int) (n int) {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	all, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range all {
		if to, _ := os.Readlink(dir + "/" + fd.Name()); strings.HasPrefix(to, "socket:") {
			n++
		}
	}
	return n
}
