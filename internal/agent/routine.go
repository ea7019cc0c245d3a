package agent

import "context"

// routine is a goroutine that can be ended. Until it is started it is zero.
type routine struct {
	cancel context.CancelFunc
	done   chan struct{}
}

// start starts it, if it does not run.
func (r *routine) start(ctx context.Context, run func(context.Context)) {
	if r.done == nil {
		ctx, r.cancel = context.WithCancel(ctx)
		r.done = make(chan struct{})
		go func() { defer close(r.done); run(ctx) }()
	}
}

// end tells it to end. The function that it returns waits for that.
func (r *routine) end() (wait func()) {
	if r.done == nil {
		return func() {}
	}
	r.cancel()
	return func() { <-r.done }
}
