//go:build linux

package lab_test

import (
	"testing"

	"kvexpress/internal/lab"
)

// One fleet meets one trouble after the other, and gets over each.
func TestAFleetGetsOverTroubles(t *testing.T) {
	t.Parallel()
	s := fleet(t, lab.Options{Servers: 3, Nodes: 4, Services: 40})
	for _, story := range []struct {
		name string
		run  func(*testing.T, *lab.Scene)
	}{
		{"the catalog is lost", catalogLost},
		{"a short file by hand", shortByHand},
		{"stop and resume", stopAndResume},
		{"one node is locked", nodesLocked},
		{"a node is paused", nodesPaused},
		{"watches and agents change places", nodesSwitched},
		// The last one: Consul ends its own streams when rights change.
		{"consul-template may not see services", rightsLost},
	} {
		if !t.Run(story.name, func(t *testing.T) {
			story.run(t, s)
			final(t, s)
		}) {
			return
		}
	}
}
