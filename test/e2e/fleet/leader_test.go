//go:build linux

package fleet

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"kvexpress/internal/fleet"
	"kvexpress/test/e2e"
)

// Waits, while the leader gets kill -9 and nodes have yet to arrive. They end with exit
// 0 and the right counts once the cluster is back, or say that the result is unknown.
func TestReceiptsWhileLeadersDie(t *testing.T) {
	t.Parallel()
	c := e2e.StartCluster(t)
	w := newWaits(t, c)
	w.whileTheLeaderDies()
	w.withoutQuorum(true)
	if e2e.Times(10) == 10 {
		w.withoutQuorum(false)
		w.whileTheLeaderDies()
	}
}

// waits are three nodes, each at a server of its own. The node "late" is locked.
type waits struct {
	t       *testing.T
	c       *e2e.Cluster
	x       *e2e.Site
	daemons []*e2e.Daemon
	last    int // the version that is published
}

func (w *waits) file(i int) string { return fmt.Sprintf("hosts-%d", i) }

func newWaits(t *testing.T, c *e2e.Cluster) *waits {
	t.Helper()
	w := &waits{t: t, c: c, x: c.Site(t, 0), last: 1}
	w.x.Publish("hosts", e2e.Version(1))
	for i := range c.Servers {
		var addrs []string // its own server first
		for j := range c.Servers {
			addrs = append(addrs, c.Servers[(i+j)%3].Addr)
		}
		name := fmt.Sprintf("web-%d", i)
		w.x.ConfigWith(name, e2e.Fields{"reconcile": "10s"}, addrs, e2e.Fields{"key": "hosts", "file": w.x.Path(w.file(i))})
		w.daemons = append(w.daemons, w.x.Agent(name))
	}
	comesTo(w.x, "hosts", "3 of 3")
	return w
}

// at is the site at another server.
func (w *waits) at(server int) *e2e.Site {
	w.t.Helper()
	x := w.c.Site(w.t, server)
	x.Machine = w.x.With("CONSUL_HTTP_ADDR=" + w.c.Servers[server].Addr)
	return x
}

// begin runs a command that waits.
func (w *waits) begin(x *e2e.Site, args ...string) <-chan e2e.Result {
	ended := make(chan e2e.Result, 1)
	go func() { ended <- as(x, args...) }()
	return ended
}

// isOn fails the test if a wait has ended.
func (w *waits) isOn(ended <-chan e2e.Result, when string) {
	w.t.Helper()
	select {
	case r := <-ended:
		w.t.Fatalf("%s, the wait has ended: %v, exit %d\n%s%s", when, r.Args, r.Code, r.Stdout, r.Stderr)
	default:
	}
}

// hold locks the file of the last node; let unlocks it.
func (w *waits) hold() {
	w.t.Helper()
	must(w.x, 0, "lock", "-f", w.x.Path(w.file(2)), "-r", "a reason")
}

func (w *waits) let(x *e2e.Site) {
	w.t.Helper()
	e2e.Eventually(w.t, "a leader takes the unlock", func() bool { return as(x, "unlock", "-f", x.Path(w.file(2))).Code == 0 })
}

// arrived compares the result of a wait with the files.
func (w *waits) arrived(ended <-chan e2e.Result, content string) {
	w.t.Helper()
	select {
	case r := <-ended:
		for i := range w.daemons {
			w.x.Holds(w.file(i), content)
		}
		s := told(w.x, r)
		if r.Code != 0 || s.Wait == nil || counts(s.Wait.Fleet) != "3 of 3" || s.Wait.Fleet.Version != uint64(w.last) {
			w.t.Errorf("%v: exit %d\n%s%s", r.Args, r.Code, r.Stdout, r.Stderr)
		}
	case <-time.After(e2e.RunTime):
		w.t.Fatal("the wait does not end")
	}
}

func (w *waits) publish() string {
	w.t.Helper()
	w.last++
	w.x.Publish("hosts", e2e.Version(w.last))
	return e2e.Version(w.last)
}

// whileTheLeaderDies waits at a server that stays, and at the leader itself, which comes
// back, with `status`, and with `in` for what it has just published.
func (w *waits) whileTheLeaderDies() {
	c := w.c
	w.hold()
	w.last++
	content := e2e.Version(w.last)
	leader := c.Leader(0)
	other, third := w.at(c.Others(leader)[0]), w.at(c.Others(leader)[1])
	in := w.begin(third, "in", "-k", "hosts", "-f", w.x.File("source", content), "--wait", "100%", "--timeout", "90s", "--json")
	for i := range 2 {
		e2e.Within(w.t, time.Minute, "it arrives", func() bool { return w.x.Read(w.file(i)) == content })
	}
	args := []string{"status", "-k", "hosts", "--wait", "100%", "--timeout", "90s", "--json"}
	there, gone := w.begin(other, args...), w.begin(w.at(leader), args...)
	e2e.Pause(500 * time.Millisecond)
	c.Servers[leader].Kill()
	e2e.Pause(time.Second)
	all := func(when string) {
		for _, ended := range []<-chan e2e.Result{in, there, gone} {
			w.isOn(ended, when)
		}
	}
	all("without a leader")
	e2e.Within(w.t, time.Minute, "there is another leader", func() bool { return as(w.at(c.Others(leader)[0]), "locks").Code == 0 })
	all("with a node that is locked")
	w.let(other)
	w.arrived(there, content)
	w.arrived(in, content)
	w.isOn(gone, "without its server")
	c.Servers[leader].Restart()
	w.arrived(gone, content)
}

// withoutQuorum leaves one of three servers, which may go on answering: no
// command says that all have converged, nor that they have not.
func (w *waits) withoutQuorum(leads bool) {
	t, c := w.t, w.c
	w.hold()
	w.publish()
	comesTo(w.x, "hosts", "2 of 3, 1 locked")
	stays := c.Leader(0) // it was the leader, or never
	if !leads {
		stays = c.Others(stays)[0]
	}
	others := c.Others(stays)
	args := []string{"status", "-k", "hosts", "--wait", "100%", "--timeout", "15s"}
	source := w.x.File("source", e2e.Version(w.last))
	waits := []<-chan e2e.Result{
		w.begin(w.at(stays), args...),
		w.begin(w.at(others[0]), args...),
		w.begin(w.at(stays), "in", "-k", "hosts", "-f", source, "--wait", "100%", "--timeout", "15s"),
	}
	e2e.Pause(3 * time.Second) // in which `in` finds that it is published
	killed := time.Now()
	for _, i := range others {
		c.Servers[i].Kill()
	}
	for i, ended := range waits {
		r := <-ended
		t.Logf("without quorum, after %v: %s", time.Since(killed).Round(time.Second), r.Stderr)
		if r.Code != 7 || !tells(r.Stderr, "unknown", "2 of 3") {
			t.Errorf("%d: exit %d\n%s%s", i, r.Code, r.Stdout, r.Stderr)
		}
	}
	if took := time.Since(killed); took > 40*time.Second {
		t.Errorf("they end after %v", took)
	}
	// From the beginning, too.
	r := as(w.at(stays), "status", "-k", "hosts", "--wait", "1%", "--timeout", "1s")
	if r.Code != 7 || !tells(r.Stderr, "unknown") {
		t.Errorf("exit %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	if status, _, err := c.Servers[stays].Request(http.MethodGet, "/v1/agent/self", "", nil); err != nil || status != http.StatusOK {
		t.Errorf("the control: the server that is left does not answer: %d %v", status, err)
	}
	if e2e.Times(10) < 10 { // it takes the agents 15 s to be back
		return
	}
	for _, i := range others {
		c.Servers[i].Launch()
	}
	for _, s := range c.Servers {
		s.Ready()
	}
	w.let(w.at(stays))
	s := told(w.x, as(w.at(stays), "status", "-k", "hosts", "--wait", "100%", "--timeout", "60s", "--json"))
	if counts(s.Report) != "3 of 3" || s.Wait.Took > fleet.Millis(time.Minute) {
		t.Errorf("back again, it is %s", counts(s.Report))
	}
}
