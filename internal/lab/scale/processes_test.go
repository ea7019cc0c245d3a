//go:build linux

package scale

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// put writes a file, or removes it for want of text.
func put(t *testing.T, path, text string) {
	t.Helper()
	err := os.WriteFile(path, []byte(text), 0o600)
	if text == "" {
		err = os.Remove(path)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// eventually polls.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	limit, every := time.NewTimer(time.Minute), time.NewTicker(5*time.Millisecond)
	defer limit.Stop()
	defer every.Stop()
	for !done() {
		select {
		case <-every.C:
		case <-limit.C:
			t.Fatalf("%s: not within a minute", what)
		}
	}
}

// alive says whether there is such a process that is not waited for.
func alive(pid int) bool { return !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }

// Processes end with SIGTERM, and those that do not mind it are killed; none is left, and
// their death is told if nobody asked for it.
func TestProcessesEnd(t *testing.T) {
	p, log := hire(t.Context()), filepath.Join(t.TempDir(), "log")
	for i := range 20 {
		if err := p.run(fmt.Sprint("sleeper ", i), log, nil, "/bin/sleep", "1000"); err != nil {
			t.Error(err)
		}
		runtime.Gosched() // other threads would be taken, if it were not for the lock
	}
	if err := p.run("nothing", log, nil, "/nothing/such"); err == nil {
		t.Error("a program that is not there was started")
	}
	all := p.list()
	for _, one := range all {
		if !alive(one.pid()) {
			t.Errorf("%s does not run", one.name)
		}
	}
	if err := syscall.Kill(all[3].pid(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the death is told", func() bool { return len(p.died) == 1 })
	if err := p.end(); err == nil || !strings.Contains(err.Error(), "sleeper 3 ended by itself: signal: killed") {
		t.Errorf("end: %v", err)
	}
	for _, one := range all {
		if alive(one.pid()) {
			t.Errorf("%s was left", one.name)
		}
	}
}

// parentEnv makes this test program one that starts processes, tells their numbers, runs
// the publisher that it names, and waits to be killed.
const parentEnv = "KVEXPRESS_SCALE_PARENT"

func TestMain(m *testing.M) {
	if os.Getenv(parentEnv) != "" {
		if err := parent(os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		return
	}
	m.Run() // its result is the exit code when TestMain returns
}

func parent(stdout io.Writer) error {
	p := hire(context.Background())
	for range 5 {
		if err := p.run("sleeper", os.DevNull, nil, "/bin/sleep", "1000"); err != nil {
			return err
		}
	}
	for _, one := range p.list() {
		fmt.Fprintln(stdout, one.pid())
	}
	// The publisher is one that tells its number, and does not come back.
	s := site{Options: Options{Program: os.Getenv(parentEnv), Servers: []Server{{}}, Limit: time.Hour}}
	_, err := s.kvexpress(context.Background())
	return err
}

// Processes do not outlive a parent that is killed, and live as long as it does: the thread
// that started them is not another's to end.
func TestProcessesDieWithTheirParent(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	dir := t.TempDir()
	publisher, told := filepath.Join(dir, "publisher"), filepath.Join(dir, "pid")
	script := "#!/bin/sh\necho $$ >'" + told + ".new' && mv '" + told + ".new' '" + told + "' && exec sleep 1000\n"
	if err := os.WriteFile(publisher, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	cmd.Env = append(os.Environ(), parentEnv+"="+publisher)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	var ids [6]int
	_, err = fmt.Fscan(out, &ids[0], &ids[1], &ids[2], &ids[3], &ids[4])
	eventually(t, "the publisher runs", func() bool {
		text, err := os.ReadFile(told)
		if err == nil {
			_, err = fmt.Sscan(string(text), &ids[5])
		}
		return err == nil
	})
	for _, id := range ids {
		if err == nil && !alive(id) {
			t.Errorf("process %d does not run", id)
		}
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait() // it was killed
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		eventually(t, fmt.Sprintf("process %d ends", id), func() bool { return !alive(id) || zombie(id) })
	}
}

// zombie says whether a process has ended, and its new parent has not waited for it yet.
func zombie(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && strings.Contains(string(text), ") Z ")
}
