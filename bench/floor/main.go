// Command floor is a node that does the least that can be done: see package
// floor.
//
//	floor ADDR PREFIX KEY FILE
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"kvexpress/bench/internal/floor"
)

func main() {
	if len(os.Args) != 5 {
		fmt.Fprintln(os.Stderr, "usage: floor ADDR PREFIX KEY FILE")
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	c := floor.Client{Addr: os.Args[1], Prefix: os.Args[2], Key: os.Args[3], File: os.Args[4]}
	if err := c.Run(ctx); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
