// Command floor is a node that does the least that can be done: see package
// floor. With read, it makes the one request of `kvexpress out` with nothing to do.
//
//	floor ADDR PREFIX KEY FILE
//	floor read ADDR ROW...
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
	if len(os.Args) < 5 {
		fmt.Fprintln(os.Stderr, "usage: floor ADDR PREFIX KEY FILE, or floor read ADDR ROW...")
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if os.Args[1] == "read" {
		_, err = (&floor.Client{Addr: os.Args[2]}).Read(ctx, os.Args[3:]...)
	} else {
		c := floor.Client{Addr: os.Args[1], Prefix: os.Args[2], Key: os.Args[3], File: os.Args[4]}
		err = c.Run(ctx)
	}
	if err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
