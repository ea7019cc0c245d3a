package install_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"kvexpress/internal/install"
	"kvexpress/internal/record"
)

// together runs jobs at once, each in a process of its own.
func together(t *testing.T, jobs []job, change func(i int, cmd *exec.Cmd)) (installed, overlaps int) {
	t.Helper()
	var wg sync.WaitGroup
	outs := make([]bytes.Buffer, len(jobs))
	cmds := make([]*exec.Cmd, len(jobs))
	for i, j := range jobs {
		cmds[i] = j.command(t)
		cmds[i].Stdout = &outs[i]
		if change != nil {
			change(i, cmds[i])
		}
		wg.Go(func() {
			if err := cmds[i].Run(); err != nil {
				t.Errorf("process %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	for i := range jobs {
		r := parse(t, outs[i].Bytes())
		if r.Error != "" {
			t.Errorf("process %d: %s", i, r.Error)
		}
		installed += r.Actions[install.Installed]
		overlaps += r.Overlaps
	}
	return installed, overlaps
}

// flipping is a job that installs A and B in turn, so many times.
func flipping(n *node, times int) job {
	n.target.Check, n.target.Exec = nil, nil
	n.publish(contentA())
	j := n.job()
	n.publish(contentB())
	j.Flip, j.Times = n.rows(), times
	j.Marker = filepath.Join(n.base(), "marker")
	return j
}

// Several processes on one path exclude each other.
func TestProcessesExcludeEachOther(t *testing.T) {
	for _, processes := range []int{2, 4} {
		n := newNode(t, scratch(t))
		jobs := make([]job, processes)
		for i := range jobs {
			jobs[i] = flipping(n, times(1000)/processes)
		}
		installed, overlaps := together(t, jobs, nil)
		if overlaps > 0 {
			t.Errorf("%d processes: %d overlaps in %d installs", processes, overlaps, installed)
		}
		for _, b := range append(n.torn(contentA(), contentB()), n.left()...) {
			t.Error(b)
		}
		t.Logf("%d processes, %d installs, %d overlaps", processes, installed, overlaps)
	}
}

// The negative control: processes on two paths do not exclude each other.
func TestExclusionControl(t *testing.T) {
	n := newNode(t, scratch(t))
	one := flipping(n, times(1000))
	two := one
	two.Target.File += "2"
	for range 20 { // on a busy machine, one may end before the other begins
		if _, overlaps := together(t, []job{one, two}, nil); overlaps > 0 {
			return
		}
	}
	t.Error("they never met: the test above proves nothing")
}

// A process of root and one of another user on one path, in a folder of that user and in one like /tmp.
func TestUsersExcludeEachOther(t *testing.T) {
	needRoot(t)
	for _, sticky := range []bool{false, true} {
		n := newNode(t, scratch(t))
		self := filepath.Join(n.base(), "self") // the test binary's own folder is private
		copySelf(t, self)
		uid := nobody
		n.target.UID = &uid
		roots := flipping(n, times(500))
		theirs := roots
		theirs.StateDir = filepath.Join(n.base(), "state of nobody")
		write(t, n.target.File, contentA())
		mkdir(t, theirs.StateDir)
		for _, path := range []string{n.base(), n.dir, n.target.File, theirs.StateDir} {
			if err := os.Chown(path, nobody, nobody); err != nil {
				t.Fatal(err)
			}
		}
		if sticky {
			if err := errors.Join(os.Chown(n.dir, 0, 0), os.Chmod(n.dir, 0o777|os.ModeSticky)); err != nil {
				t.Fatal(err)
			}
		}
		installed, overlaps := together(t, []job{roots, theirs, roots, theirs}, func(i int, cmd *exec.Cmd) {
			cmd.Path = self
			if i%2 == 1 {
				cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
			}
		})
		if overlaps > 0 || installed == 0 {
			t.Errorf("sticky %v: %d overlaps in %d installs", sticky, overlaps, installed)
		}
	}
}

func copySelf(t *testing.T, to string) {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	in, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}

// readLoop hashes a file over and over while update runs, and counts reads of
// anything but whole contents.
func readLoop(t *testing.T, path string, whole [][]byte, update func() error) (reads, torn int) {
	t.Helper()
	sums := make(map[string]bool)
	for _, c := range whole {
		sums[record.Checksum(c)] = true
	}
	var stop atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		for !stop.Load() {
			b, err := os.ReadFile(path)
			if err != nil || !sums[record.Checksum(b)] {
				torn++
			}
			reads++
		}
	})
	err := update()
	stop.Store(true)
	wg.Wait()
	if err != nil {
		t.Error(err)
	}
	return reads, torn
}

// Readers see the old or the new bytes.
func TestReaderSeesNoTornFile(t *testing.T) {
	t.Parallel()
	n := newNode(t, scratch(t))
	n.target.Check, n.target.Exec = nil, nil
	a, b := lines("A", 4000), lines("B", 2000)
	n.publish(a)
	n.must(install.Installed)
	updates := times(50_000)
	reads, torn := readLoop(t, n.target.File, [][]byte{a, b}, func() error {
		for i := range updates {
			content := b
			if i%2 == 1 {
				content = a
			}
			// As 1.x writes: publishing is not tested here.
			n.put(n.layout.Data(hosts), string(content), 0)
			n.put(n.layout.Checksum(hosts), record.Checksum(content), 0)
			if res, err := n.deliver(nil); err != nil || res.Action != install.Installed {
				return fmt.Errorf("update %d: %q: %w", i, res.Action, err)
			}
		}
		return nil
	})
	t.Logf("torn reads: %d of %d, over %d updates", torn, reads, updates)
	if torn > 0 || reads < 100 {
		t.Errorf("torn reads: %d of %d", torn, reads)
	}
}

// The negative control: a plain write is caught tearing.
func TestReaderControl(t *testing.T) {
	path := filepath.Join(scratch(t), "file")
	a, b := lines("A", 4000), lines("B", 2000)
	write(t, path, a)
	reads, torn := readLoop(t, path, [][]byte{a, b}, func() error {
		for i := range 5000 {
			content := [][]byte{a, b}[i%2]
			if err := os.WriteFile(path, content, 0o644); err != nil {
				return err
			}
		}
		return nil
	})
	t.Logf("torn reads of a plain write: %d of %d", torn, reads)
	if torn == 0 {
		t.Error("nothing was torn: the test above proves nothing")
	}
}
