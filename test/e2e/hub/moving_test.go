//go:build linux

package hub

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"kvexpress/internal/outcome"
	"kvexpress/test/e2e"
)

// end is a hub with the lines to its agents and to its store.
type end struct {
	*e2e.Hub
	front, back *line
}

// pair is two hubs and an agent that prefers one of them.
type pair struct {
	*e2e.Site
	name, key  string
	home, away *end
	agent      *e2e.Daemon
	version    int
}

// newPair starts them for a key, which has its first version then.
func newPair(t *testing.T, x *e2e.Site, name string, more e2e.Fields) *pair {
	t.Helper()
	own := *x
	m := *x.Machine
	m.T = t
	own.Machine = &m
	p := &pair{Site: &own, name: name, key: name}
	ends := map[string]*end{}
	var hubs []string
	for _, side := range []string{"a", "b"} {
		back := newLine(t, x.Store.Server.Addr)
		h := p.Hub(name+"-hub-"+side, "-s", back.addr)
		front := newLine(t, h.Addr)
		ends[front.addr] = &end{h, front, back}
		hubs = append(hubs, front.addr)
	}
	p.publish()
	all := e2e.Fields{"hubs": hubs}
	for k, v := range more {
		all[k] = v
	}
	p.ConfigWith(name, all, nil, e2e.Fields{"key": p.key, "file": p.Path(p.file()), "min_lines": 1})
	p.agent = p.Agent(name)
	order := p.agent.Status().Hub.Addrs
	p.home, p.away = ends[order[0]], ends[order[1]]
	p.delivers()
	p.at(p.home)
	return p
}

func (p *pair) file() string { return p.name + "-file" }

// publish publishes the next version, and returns its content.
func (p *pair) publish() string {
	p.T.Helper()
	p.version++
	p.Publish(p.key, e2e.Version(p.version))
	return e2e.Version(p.version)
}

// delivers waits for the last version.
func (p *pair) delivers() {
	p.T.Helper()
	e2e.Within(p.T, 3*time.Minute, fmt.Sprint(p.name, " has version ", p.version), func() bool {
		return p.Read(p.file()) == e2e.Version(p.version)
	})
	p.agent.Delivers(p.file(), e2e.Version(p.version))
}

// at waits until the agent is connected to a hub.
func (p *pair) at(h *end) {
	p.T.Helper()
	e2e.Within(p.T, 3*time.Minute, p.name+" is connected to "+h.front.addr, func() bool { return p.agent.Status().Hub.Addr == h.front.addr })
}

// moved publishes, and wants the version from the other hub. The agent asks no store itself.
func (p *pair) moved() {
	p.T.Helper()
	p.publish()
	p.at(p.away)
	p.delivers()
	if s := p.agent.Status(); s.Hub.Direct {
		p.T.Errorf("the agent asks the store: %+v", s.Hub)
	}
}

// back wants the agent at its preferred hub again, and a version from there.
func (p *pair) back() {
	p.T.Helper()
	p.at(p.home)
	p.publish()
	p.delivers()
}

// The hub of an agent fails in one of many ways. The agent moves to the other hub, and home when its own is there again.
func TestMoving(t *testing.T) {
	t.Parallel()
	x := start(t)
	e2e.Together(t, e2e.Parts{
		"killed": func(t *testing.T) {
			p := newPair(t, x, "killed", nil)
			p.home.Kill()
			p.moved()
			again := p.Hub("killed-again", "-s", p.home.back.addr)
			p.home.front.mend(again.Addr)
			p.back()
		},
		"ended": func(t *testing.T) {
			p := newPair(t, x, "ended", nil)
			p.home.EndsWell() // agents leave before the connection closes
			p.moved()
			if line := lineWith(p.agent.Said(), "lost the hub"); line != "" {
				t.Errorf("the agent was not asked to leave: %s", line)
			}
		},
		"hangs": func(t *testing.T) {
			p := newPair(t, x, "hangs", nil)
			p.home.Signal(syscall.SIGSTOP)
			p.moved()
			p.home.Signal(syscall.SIGCONT)
			p.back()
		},
		"without the store": func(t *testing.T) {
			p := newPair(t, x, "storeless", nil)
			p.home.back.cut()
			p.moved()
			if home, away := p.home.Metric("age_seconds"), p.away.Metric("age_seconds"); home < 30 || away > home {
				t.Errorf("the ages are %v s and %v s", home, away)
			}
			p.home.back.mend(x.Store.Server.Addr)
			p.back()
		},
		"cut off": func(t *testing.T) {
			p := newPair(t, x, "cut", nil)
			p.home.front.cut()
			p.moved()
			p.home.front.mend(p.home.Addr)
			p.back()
		},
		"held": func(t *testing.T) { // nothing passes, without an error
			p := newPair(t, x, "held", nil)
			p.home.front.hold(true)
			p.moved()
			p.home.front.hold(false)
			p.back()
		},
		"stopped meanwhile": func(t *testing.T) { stoppedWhileMoving(t, x) },
		"no hub":            func(t *testing.T) { noHub(t, x) },
	})
}

// stoppedWhileMoving stops a key and publishes while the agent has no hub. The other hub never gives it the version.
func stoppedWhileMoving(t *testing.T, x *e2e.Site) {
	p := newPair(t, x, "stopped", nil)
	for range e2e.Times(50) {
		from, to := p.home, p.away
		if p.agent.Status().Hub.Addr == p.away.front.addr {
			from, to = to, from
		}
		before := e2e.Version(p.version)
		from.front.cut()
		p.Ok("stop", "-k", p.key, "-r", "bad data")
		p.publish() // under the stop
		p.at(to)
		p.agent.Becomes(p.file(), outcome.Stopped)
		p.Holds(p.file(), before)
		p.Ok("resume", "-k", p.key)
		p.delivers()
		from.front.mend(from.Addr)
	}
}

// noHub: without a hub, an agent asks the store after a while, unless it must not. Both come back.
func noHub(t *testing.T, x *e2e.Site) {
	p := newPair(t, x, "direct", nil)
	addrs := p.agent.Status().Hub.Addrs
	p.ConfigWith("never", e2e.Fields{"hubs": addrs, "direct": false}, nil,
		e2e.Fields{"key": p.key, "file": p.Path("never-file"), "min_lines": 1})
	never := p.Agent("never")
	never.Delivers("never-file", e2e.Version(1))
	for _, h := range []*end{p.home, p.away} {
		h.front.cut()
	}
	p.publish()
	p.delivers() // perhaps by a read that was due, before the agent follows the store
	e2e.Eventually(t, "the agent follows the store", func() bool { return p.agent.Status().Hub.Direct })
	if s := p.agent.Status(); s.Hub.Addr != "" || s.Requests == 0 {
		t.Errorf("the agent has the version without asking the store: %+v, %d requests", s.Hub, s.Requests)
	}
	says(p.agent, "asking the store itself")
	says(never, "no hub can be reached; files stay as they are")
	never.Becomes("never-file", outcome.Unreachable)
	p.Holds("never-file", e2e.Version(1))

	for _, h := range []*end{p.home, p.away} {
		h.front.mend(h.Addr)
	}
	p.at(p.home)
	p.publish()
	p.delivers()
	never.Delivers("never-file", e2e.Version(p.version))
	if s := never.Status(); s.Requests != 0 {
		t.Errorf("an agent that must not ask the store made %d requests", s.Requests)
	}
	if s := p.agent.Status(); s.Hub.Direct {
		t.Errorf("back at a hub, the agent asks the store: %+v", s.Hub)
	}
}
