package fleet

import (
	"slices"
	"testing"
	"time"
)

// A part names up to MaxTargets files that its agent has not reconciled yet: what was reported of them stays.
func TestPartStarting(t *testing.T) {
	old := Receipt{Sent: time.Now(), Targets: []Target{{By: ByAgent, File: "/a"}, {By: ByAgent, File: "/b"}, {By: ByAgent, File: "/c"}}}
	p := Part{Starting: append(slices.Repeat([]string{"/a"}, MaxTargets), "/b")}
	if r := p.Into(old, "web-1", "hub-1", time.Now(), nil); len(r.Targets) != 1 || r.Targets[0].File != "/a" {
		t.Errorf("got %+v", r.Targets)
	}
}
