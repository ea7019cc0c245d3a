//go:build linux

package e2e

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"kvexpress/internal/fleet"
)

// Waits, while the leader gets kill -9 and nodes have yet to arrive. They end with exit
// 0 and the right counts once the cluster is back, or say that it is unknown. Taken
// out: that a wait goes on while the store cannot be reached, and that it says
// "unknown" at its end then.
func TestReceiptsWhileLeadersDie(t *testing.T) {
	t.Parallel()
	c := startCluster(t)
	w := newWaits(t, c)
	w.whileTheLeaderDies()
	w.withoutQuorum(true)
	if times(10) == 10 {
		w.withoutQuorum(false)
		w.whileTheLeaderDies()
	}
}

// waits are three nodes, of which "late" is locked, each at a server of its own.
type waits struct {
	t       *testing.T
	c       *cluster
	x       *site
	daemons []*daemon
	last    int // the version that is published
}

func (w *waits) file(i int) string { return fmt.Sprintf("hosts-%d", i) }

func newWaits(t *testing.T, c *cluster) *waits {
	t.Helper()
	w := &waits{t: t, c: c, x: c.site(t, 0), last: 1}
	w.x.publish("hosts", version(1))
	for i := range c.servers {
		var addrs []string // its own server first
		for j := range c.servers {
			addrs = append(addrs, c.servers[(i+j)%3].Addr)
		}
		name := fmt.Sprintf("web-%d", i)
		w.x.configWith(name, fields{"reconcile": "10s"}, addrs, fields{"key": "hosts", "file": w.x.path(w.file(i))})
		w.daemons = append(w.daemons, w.x.agent(name))
	}
	w.x.comesTo("hosts", "3 of 3")
	return w
}

// at is the site at another server.
func (w *waits) at(server int) *site {
	w.t.Helper()
	x := w.c.site(w.t, server)
	x.machine = w.x.with("CONSUL_HTTP_ADDR=" + w.c.servers[server].Addr)
	return x
}

// begin runs a command that waits.
func (w *waits) begin(x *site, args ...string) <-chan result {
	ended := make(chan result, 1)
	go func() { ended <- x.as(args...) }()
	return ended
}

// isOn fails the test if a wait has ended.
func (w *waits) isOn(ended <-chan result, when string) {
	w.t.Helper()
	select {
	case r := <-ended:
		w.t.Fatalf("%s, the wait has ended: %v, exit %d\n%s%s", when, r.args, r.code, r.stdout, r.stderr)
	default:
	}
}

// hold locks the file of the last node; let lets go.
func (w *waits) hold() {
	w.t.Helper()
	w.x.must(0, "lock", "-f", w.x.path(w.file(2)), "-r", "a reason")
}

func (w *waits) let(x *site) {
	w.t.Helper()
	eventually(w.t, "a leader takes the unlock", func() bool { return x.as("unlock", "-f", x.path(w.file(2))).code == 0 })
}

// arrived checks what a wait says at its end against the files.
func (w *waits) arrived(ended <-chan result, content string) {
	w.t.Helper()
	select {
	case r := <-ended:
		for i := range w.daemons {
			w.x.holds(w.file(i), content)
		}
		s := w.x.told(r)
		if r.code != 0 || s.Wait == nil || counts(s.Wait.Fleet) != "3 of 3" || s.Wait.Fleet.Version != uint64(w.last) {
			w.t.Errorf("%v: exit %d\n%s%s", r.args, r.code, r.stdout, r.stderr)
		}
	case <-time.After(runTime):
		w.t.Fatal("the wait does not end")
	}
}

func (w *waits) publish() string {
	w.t.Helper()
	w.last++
	w.x.publish("hosts", version(w.last))
	return version(w.last)
}

// whileTheLeaderDies waits at a server that stays, and at the leader itself, which comes
// back, with `status`, and with `in` for what it has just published.
func (w *waits) whileTheLeaderDies() {
	c := w.c
	w.hold()
	w.last++
	content := version(w.last)
	leader := c.leader(0)
	other, third := w.at(c.others(leader)[0]), w.at(c.others(leader)[1])
	in := w.begin(third, "in", "-k", "hosts", "-f", w.x.file("source", content), "--wait", "100%", "--timeout", "90s", "--json")
	for i := range 2 {
		within(w.t, time.Minute, "it arrives", func() bool { return w.x.read(w.file(i)) == content })
	}
	args := []string{"status", "-k", "hosts", "--wait", "100%", "--timeout", "90s", "--json"}
	there, gone := w.begin(other, args...), w.begin(w.at(leader), args...)
	pause(500 * time.Millisecond)
	c.servers[leader].Kill()
	pause(time.Second)
	all := func(when string) {
		for _, ended := range []<-chan result{in, there, gone} {
			w.isOn(ended, when)
		}
	}
	all("without a leader")
	within(w.t, time.Minute, "there is another leader", func() bool { return w.at(c.others(leader)[0]).as("locks").code == 0 })
	all("with a node that is locked")
	w.let(other)
	w.arrived(there, content)
	w.arrived(in, content)
	w.isOn(gone, "without its server")
	c.servers[leader].Restart()
	w.arrived(gone, content)
}

// withoutQuorum leaves one of three servers, which may go on answering: nobody says
// that all have arrived, nor that they have not.
func (w *waits) withoutQuorum(leads bool) {
	t, c := w.t, w.c
	w.hold()
	w.publish()
	w.x.comesTo("hosts", "2 of 3, 1 behind")
	stays := c.leader(0) // it was the leader, or never
	if !leads {
		stays = c.others(stays)[0]
	}
	others := c.others(stays)
	args := []string{"status", "-k", "hosts", "--wait", "100%", "--timeout", "7s"}
	source := w.x.file("source", version(w.last))
	waits := []<-chan result{
		w.begin(w.at(stays), args...),
		w.begin(w.at(others[0]), args...),
		w.begin(w.at(stays), "in", "-k", "hosts", "-f", source, "--wait", "100%", "--timeout", "7s"),
	}
	pause(time.Second) // in which `in` finds that it is published
	killed := time.Now()
	for _, i := range others {
		c.servers[i].Kill()
	}
	for i, ended := range waits {
		r := <-ended
		t.Logf("without quorum, after %v: %s", time.Since(killed).Round(time.Second), r.stderr)
		if r.code != 7 || !tells(r.stderr, "it is unknown how many nodes have arrived", " 2 of 3 had") {
			t.Errorf("%d: exit %d\n%s%s", i, r.code, r.stdout, r.stderr)
		}
	}
	if took := time.Since(killed); took > 20*time.Second {
		t.Errorf("they end after %v", took)
	}
	// From the beginning, too.
	r := w.at(stays).as("status", "-k", "hosts", "--wait", "1%", "--timeout", "1s")
	if r.code != 7 || !tells(r.stderr, "it is unknown how many nodes have arrived: ") {
		t.Errorf("exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	if status, _, err := c.servers[stays].Request(http.MethodGet, "/v1/agent/self", "", nil); err != nil || status != http.StatusOK {
		t.Errorf("the control: the server that is left does not answer: %d %v", status, err)
	}
	if times(10) < 10 { // it takes the agents 15 s to be back
		return
	}
	for _, i := range others {
		c.servers[i].Launch()
	}
	for _, s := range c.servers {
		s.Ready()
	}
	w.let(w.at(stays))
	s := w.x.told(w.at(stays).as("status", "-k", "hosts", "--wait", "100%", "--timeout", "60s", "--json"))
	if counts(s.Report) != "3 of 3" || s.Wait.Seen.Took > fleet.Millis(time.Minute) {
		t.Errorf("back again, it is %s", counts(s.Report))
	}
}
