package cli

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// Signals is the Interruptible of a program: SIGINT and SIGTERM end the context.
func Signals(ctx context.Context) (context.Context, context.CancelFunc) {
	return signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
}
