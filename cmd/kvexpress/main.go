// Command kvexpress puts a file on every machine of a fleet through Consul's
// KV store, verified.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"kvexpress/internal/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	cli.HideSecrets(os.Args[1:])
	app := cli.App{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv}
	code := app.Run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}
