// Command floor is a node that does the least that can be done: see package
// floor.
//
//	floor -shape raw|recursive ADDR PREFIX KEY FILE
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"kvexpress/bench/internal/floor"
)

func main() {
	shape := flag.String("shape", string(floor.Raw), "raw or recursive")
	flag.Parse()
	if flag.NArg() != 4 {
		fmt.Fprintln(os.Stderr, "usage: floor -shape raw|recursive ADDR PREFIX KEY FILE")
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	c := floor.Client{Addr: flag.Arg(0), Prefix: flag.Arg(1), Key: flag.Arg(2), File: flag.Arg(3), Shape: floor.Shape(*shape)}
	if err := c.Run(ctx); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
