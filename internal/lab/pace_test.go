//go:build linux

package lab

import (
	"net/netip"
	"testing"
	"time"

	"kvexpress/internal/lab/dns"
)

// A node is asked often from when its file changes until its answer does.
func TestANodeIsAskedOftenWhileItsFileIsNew(t *testing.T) {
	t.Parallel()
	changed := make(chan struct{}, 1)
	p := &pace{tick: time.NewTicker(time.Hour), changed: changed}
	defer p.stop()
	addr := func(a string) dns.Answer {
		return dns.Answer{Exists: true, Addrs: []netip.Addr{netip.MustParseAddr(a)}}
	}
	p.answered("web", addr("10.0.0.1"))
	if p.eager() {
		t.Fatal("eager before the file has changed")
	}
	changed <- struct{}{}
	if !p.wait(t.Context()) || !p.eager() {
		t.Fatal("not eager with a new file")
	}
	p.answered("web", addr("10.0.0.1"))
	p.answered("api", addr("10.0.0.9")) // another name has no answer before
	p.answered("web", addr("10.0.0.1"))
	if !p.eager() {
		t.Error("calm before the answer has changed")
	}
	p.answered("web", dns.Answer{})
	if p.eager() {
		t.Error("eager after the answer has changed")
	}
}
