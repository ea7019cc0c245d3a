//go:build linux

package lab

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// nobody is a user without any rights.
const nobody = 65534

// Each machine has its name, also for somebody who is not root. Taken out: that such a one
// calls sethostname; then no program of the lab starts.
func TestAMachineHasItsOwnName(t *testing.T) {
	t.Parallel()
	unshare, err := exec.LookPath("unshare")
	if err != nil {
		t.Fatal(err)
	}
	own, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for who, user := range map[string]int{"whoever runs the test": os.Geteuid(), "nobody": nobody} {
		if os.Geteuid() != 0 && user == nobody {
			continue // only root can be somebody else, and this one is not root either
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		argv := hostNamed(unshare, user == 0, "web-1", []string{"uname", "-n"})
		cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
		cmd.Dir = "/"
		if user != os.Geteuid() {
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		}
		out, err := cmd.CombinedOutput()
		if name := strings.TrimSpace(string(out)); err != nil || name != "web-1" {
			t.Errorf("%s: the name is %q, %v", who, name, err)
		}
	}
	if now, err := os.Hostname(); err != nil || now != own {
		t.Errorf("the name of this machine was %s, and is %s, %v", own, now, err)
	}
}
