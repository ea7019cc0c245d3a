package disk_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"kvexpress/internal/embedded"
	"kvexpress/internal/embedded/disk"
)

// childEnv makes a re-executed test binary do the job that is in it.
const childEnv = "KVEXPRESS_DISK_TEST"

// TestMain makes this binary a second process where a test needs one.
func TestMain(m *testing.M) {
	if b := os.Getenv(childEnv); b != "" {
		var j job
		err := json.Unmarshal([]byte(b), &j)
		if err == nil {
			err = j.run()
		}
		if err != nil {
			fmt.Fprintln(os.Stdout, "failed", err)
		}
		return
	}
	m.Run()
}

// job is the task of a child process: open a folder, write the next batches, and print
// "ack N", "refused N" or "unknown N" with the error for each.
type job struct {
	Dir     string
	Batches int      // 0: without end
	Hold    bool     // keep the folder until standard input ends
	Damages []damage // instead: do these to the file, and open it
}

func (j job) run() error {
	runtime.LockOSThread() // strace counts the calls of each thread for itself
	if j.Damages != nil {
		return j.damage()
	}
	db, err := disk.Open(j.Dir)
	if err != nil {
		return err
	}
	var s embedded.Saved
	if err := db.Load(&s); err != nil {
		return err
	}
	fmt.Fprintln(os.Stdout, "open", s.Index/10)
	if j.Hold {
		_, err := bufio.NewReader(os.Stdin).ReadByte()
		return errors.Join(err, db.Close())
	}
	for n, left := s.Index/10+1, j.Batches; j.Batches == 0 || left > 0; left-- {
		switch err := db.Append(batch(n)); {
		case err == nil:
			fmt.Fprintln(os.Stdout, "ack", n)
			n++
		case errors.Is(err, embedded.ErrNotWritten): // and again
			fmt.Fprintln(os.Stdout, "refused", n, err)
		default:
			fmt.Fprintln(os.Stdout, "unknown", n, err)
			n++
		}
	}
	return db.Close()
}

// batch is the nth batch of changes, always the same.
func batch(n uint64) []embedded.Change {
	r := rand.New(rand.NewPCG(n, 1))
	changes := make([]embedded.Change, 1+r.IntN(3))
	for i := range changes {
		c := embedded.Change{Index: n*10 + uint64(i)}
		for range 1 + r.IntN(6) {
			size := r.IntN(200)
			if r.IntN(20) == 0 {
				size = r.IntN(20000)
			}
			row := &embedded.Row{Path: fmt.Sprintf("row/%03d", r.IntN(400)), Value: bytes.Repeat([]byte{byte(n)}, size), ModifyIndex: c.Index}
			c.Rows = append(c.Rows, row)
		}
		for range r.IntN(3) {
			c.Deleted = append(c.Deleted, fmt.Sprintf("row/%03d", r.IntN(440)))
		}
		changes[i] = c
	}
	return changes
}

// after is the content after n batches.
func after(n uint64) *model {
	m := newModel()
	for i := range n {
		m.add(batch(i + 1)...)
	}
	return m
}

// holds checks that a folder holds all acknowledged batches, and the one that
// was under way whole or not at all. It returns how many there are.
func holds(t testing.TB, dir string, acked uint64) uint64 {
	t.Helper()
	s := reopened(t, dir)
	n := s.Index / 10
	if n < acked || n > acked+1 {
		t.Fatalf("%d batches are there, and %d were acknowledged", n, acked)
	}
	after(n).check(t, s)
	return n
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
	cmd.Env = append(os.Environ(), childEnv+"="+string(b), "GORACE=atexit_sleep_ms=0") // it would sleep for a second
	cmd.Stderr = os.Stderr
	return cmd
}

// says runs a child to its end, which may be a kill, and returns its lines.
func (j job) says(t testing.TB, wrapper ...string) (lines []string, killed bool) {
	t.Helper()
	out, err := j.command(t, wrapper...).Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		status, ok := exit.Sys().(syscall.WaitStatus)
		killed = ok && status.Signal() == syscall.SIGKILL
	}
	if err != nil && !killed {
		t.Fatalf("child ended by %v; the end of what it said is %s", err, out[max(0, len(out)-300):])
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n"), killed
}

// acked is the last batch that was acknowledged, or was there before.
func acked(lines []string) (n uint64) {
	for _, line := range lines {
		var what string
		var v uint64
		if k, _ := fmt.Sscan(line, &what, &v); k == 2 && (what == "ack" || what == "open") {
			n = v
		}
	}
	return n
}
