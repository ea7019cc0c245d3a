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
