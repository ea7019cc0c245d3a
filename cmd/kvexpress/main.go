// Command kvexpress puts a file on every machine of a fleet through Consul's KV store, and verifies it.
package main

import (
	"context"
	"os"
	"syscall"

	"kvexpress/internal/cli"
)

func main() {
	// Whatever the umask, we can open the folders that we make.
	syscall.Umask(syscall.Umask(0o077) &^ 0o700)
	cli.HideSecrets(os.Args[1:])
	app := cli.App{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv, Interruptible: cli.Signals,
		Hangups: cli.Hangups}
	os.Exit(app.Run(context.Background(), os.Args[1:]))
}
