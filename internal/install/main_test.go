package install_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"

	"kvexpress/internal/embedded"
	"kvexpress/internal/install"
	"kvexpress/internal/kv"
	"kvexpress/internal/rollout"
)

// childEnv makes a re-executed test binary do the job that it reads from standard
// input.
const childEnv = "KVEXPRESS_DELIVER_TEST"

// TestMain makes this binary a second process where a test needs one.
func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		if err := childMain(); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		return
	}
	m.Run()
}

// job is the task of a child process.
type job struct {
	Rows     map[string]kv.Entry // the content of its store
	Target   install.Target
	StateDir string
	Flip     map[string]kv.Entry // its content at every second delivery
	KillAt   int                 // kill itself before this step, counted from 1; 0: never
	Times    int                 // deliveries one after the other; 0 is 1
	Offer    *rollout.Offer      // beside all rows
	Marker   string              // a file that excludes others while a delivery is under way
}

// report is the output of a child process.
type report struct {
	Actions  map[install.Action]int
	Error    string // the first one
	Overlaps int    // how often the marker was there already
}

func childMain() error {
	var j job
	if err := json.NewDecoder(os.Stdin).Decode(&j); err != nil {
		return err
	}
	runtime.LockOSThread() // strace counts the calls of each thread for itself
	store := embedded.New()
	layout, err := kv.NewLayout("kvexpress")
	if err != nil {
		return err
	}
	r := report{Actions: make(map[install.Action]int)}
	for i := range max(1, j.Times) {
		rows := j.Rows
		if i%2 == 1 && j.Flip != nil {
			rows = j.Flip
		}
		if err := fill(store, rows); err != nil {
			return err
		}
		if i == 0 {
			fmt.Fprintln(os.Stdout, "ready")
		}
		d := install.Installer{Store: hubView(store, layout, j.Offer), Layout: layout, Host: "node", StateDir: j.StateDir, Fault: j.hook(&r)}
		result, err := d.Install(context.Background(), j.Target)
		r.Actions[result.Action]++
		if err != nil && r.Error == "" {
			r.Error = err.Error()
		}
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

func fill(store kv.Store, rows map[string]kv.Entry) error {
	for path, row := range rows {
		op := kv.Op{Verb: kv.Set, Path: path, Value: row.Value, Flags: row.Flags}
		if _, err := store.Commit(context.Background(), []kv.Op{op}); err != nil {
			return err
		}
	}
	return nil
}

// hook kills the process, and watches over the marker.
func (j job) hook(r *report) install.FaultHook {
	n := 0
	return func(s install.FaultPoint) error {
		if n++; n == j.KillAt {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
		if j.Marker == "" {
			return nil
		}
		switch s {
		case install.AtBegin: // we have the lock
			f, err := os.OpenFile(j.Marker, os.O_CREATE|os.O_EXCL, 0o666)
			if errors.Is(err, os.ErrExist) {
				r.Overlaps++
				return nil
			}
			if err != nil {
				return err
			}
			return f.Close()
		case install.AtUnlock:
			_ = os.Remove(j.Marker) // another process's, if we overlapped
		}
		return nil
	}
}

// command is the child process for a job.
func (j job) command(t testing.TB, wrapper ...string) *exec.Cmd {
	t.Helper()
	b, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	argv := append(wrapper, self)
	cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), childEnv+"=1")
	cmd.Stdin, cmd.Stderr = bytes.NewReader(b), os.Stderr
	return cmd
}

// run runs a job to its end.
func (j job) run(t testing.TB, wrapper ...string) report {
	t.Helper()
	out, err := j.command(t, wrapper...).Output()
	if err != nil {
		t.Fatalf("child: %v", err)
	}
	return parse(t, out)
}

func parse(t testing.TB, out []byte) (r report) {
	t.Helper()
	if err := json.Unmarshal(bytes.TrimPrefix(out, []byte("ready\n")), &r); err != nil {
		t.Fatalf("child said %q: %v", out, err)
	}
	return r
}

// killed runs a job that must die by SIGKILL.
func (j job) killed(t testing.TB, wrapper ...string) {
	t.Helper()
	if said, dead := j.perhapsKilled(t, wrapper...); !dead {
		t.Fatalf("child was not killed, said %q", said)
	}
}

// perhapsKilled runs a child that is killed, or goes through.
func (j job) perhapsKilled(t testing.TB, wrapper ...string) (said string, dead bool) {
	t.Helper()
	out, err := j.command(t, wrapper...).Output()
	var exit *exec.ExitError
	if err == nil {
		return string(out), false
	}
	if !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
		t.Fatalf("child ended by %v, not by SIGKILL", err)
	}
	return "", true
}
