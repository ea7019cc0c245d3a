//go:build linux

package lab

import (
	"context"
	"time"
)

// Pulse freezes all that runs on the node again and again, as if it were overloaded,
// until ctx ends; then it is well.
func (n *Node) Pulse(ctx context.Context, frozen, running time.Duration) {
	defer n.Continue()
	for ctx.Err() == nil {
		n.Pause()
		_ = pause(ctx, frozen) // the loop looks at ctx
		n.Continue()
		_ = pause(ctx, running)
	}
}
