package consultest

import "syscall"

// dieWithParent has the kernel kill the agent when the test program is gone
// without its clean-ups, as after a panic or a time-out.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
