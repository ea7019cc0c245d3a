//go:build !linux

package command

import (
	"context"
	"os/exec"
)

func start(cmd *exec.Cmd) error { return cmd.Start() }
func reaped(*exec.Cmd)          {}

// ReapOrphans needs Linux.
func ReapOrphans(context.Context) {}
