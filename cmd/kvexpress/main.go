// Command kvexpress puts a file on every machine of a fleet through Consul's
// KV store, verified.
package main

import (
	"context"
	"os"

	"kvexpress/internal/cli"
)

func main() {
	cli.HideSecrets(os.Args[1:])
	app := cli.App{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv, Interruptible: cli.Signals,
		Hangups: cli.Hangups}
	os.Exit(app.Run(context.Background(), os.Args[1:]))
}
