//go:build linux

package lab

import (
	"context"
	"slices"
	"time"

	"kvexpress/internal/lab/dns"
)

// pace is when a node is asked: always, or little until its file changes and then
// until an answer differs from the one before.
type pace struct {
	tick    *time.Ticker
	changed <-chan struct{} // nil: always
	until   time.Time       // eager until then
	name    string          // in focus,
	last    dns.Answer      // and what is known of it
}

func newPace(when *Sights, n *Node) *pace {
	if when == nil {
		return &pace{tick: time.NewTicker(askEvery)}
	}
	return &pace{tick: time.NewTicker(askLess), changed: when.news[n.Hosts]}
}

// always tells whether what a node answers at all times is wanted, and not only when a
// change is there.
func (p *pace) always() bool { return p.changed == nil }

func (p *pace) stop() { p.tick.Stop() }

// wait returns when it is time for the next question; false: ctx has ended.
func (p *pace) wait(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-p.changed:
		p.until = time.Now().Add(eager)
		p.tick.Reset(askEvery)
	case now := <-p.tick.C:
		if p.eager() && now.After(p.until) {
			p.calm()
		}
	}
	return true
}

// eager tells whether the file has just changed.
func (p *pace) eager() bool { return !p.until.IsZero() }

func (p *pace) calm() {
	p.until = time.Time{}
	p.tick.Reset(askLess)
}

// answered hears each answer about the name in focus.
func (p *pace) answered(name string, a dns.Answer) {
	differs := name == p.name && (a.Exists != p.last.Exists || !slices.Equal(a.Addrs, p.last.Addrs))
	p.name, p.last = name, a
	if p.eager() && differs {
		p.calm()
	}
}
