package cli

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// Hangups returns a channel of SIGHUPs, which reload a daemon's configuration, and a function to stop them.
func Hangups() (<-chan os.Signal, func()) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGHUP)
	return c, func() { signal.Stop(c) }
}

// Signals is an App.Interruptible: SIGINT and SIGTERM end the context.
func Signals(ctx context.Context) (context.Context, context.CancelFunc) {
	return signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
}

// untilEnded is for a command that must clean up: SIGINT, SIGTERM and the end of the terminal end
// the context. A closed pipe is an error of the next write, not the end of the process.
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
