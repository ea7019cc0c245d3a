//go:build !linux

package consultest

import "syscall"

// dieWithParent does nothing here: after a panic or a time-out of the test
// program its agents have to be ended by hand.
func dieWithParent() *syscall.SysProcAttr { return nil }

func stopped(int) bool { return true }
