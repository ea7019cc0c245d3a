package cli

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// Hangups are the signals that make a daemon read its configuration again. The
// function ends that.
func Hangups() (<-chan os.Signal, func()) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGHUP)
	return c, func() { signal.Stop(c) }
}

// Signals is the Interruptible of a program: SIGINT and SIGTERM end the context.
func Signals(ctx context.Context) (context.Context, context.CancelFunc) {
	return signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
}

// untilEnded is a context that ends with whatever ends a program that has things to
// remove: SIGINT and SIGTERM, a terminal that is closed, and a pipe that nobody reads any
// more, for which a write gets its error then.
func (a *App) untilEnded(ctx context.Context) (context.Context, context.CancelFunc) {
	if a.Interruptible == nil {
		return context.WithCancel(ctx)
	}
	ctx, done := a.Interruptible(ctx)
	ctx, hungUp := signal.NotifyContext(ctx, syscall.SIGHUP)
	broken := make(chan os.Signal, 1)
	signal.Notify(broken, syscall.SIGPIPE)
	return ctx, func() {
		signal.Stop(broken)
		hungUp()
		done()
	}
}
