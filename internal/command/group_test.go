package command

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// witness follows one process of a command by two named pipes. The process
// holds $ALIVE open for writing, and may wait for a line from $GO: so its words
// and its end are seen without looking at the clock.
type witness struct {
	env  []string
	up   chan struct{} // closed when the process has said its first line
	last chan string   // all that it said after it, once it has ended
	free *os.File      // the writing end of $GO
}

func newWitness(t *testing.T) *witness {
	t.Helper()
	dir := t.TempDir()
	alive, free := filepath.Join(dir, "alive"), filepath.Join(dir, "go")
	for _, path := range []string{alive, free} {
		if err := syscall.Mkfifo(path, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w := &witness{
		env:  []string{"ALIVE=" + alive, "GO=" + free},
		up:   make(chan struct{}),
		last: make(chan string, 1),
	}
	var err error
	if w.free, err = os.OpenFile(free, os.O_RDWR, 0); err != nil { // for writing alone it would block
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.free.Close() })
	go w.follow(t, alive)
	return w
}

func (w *witness) follow(t *testing.T, path string) {
	defer close(w.last)
	f, err := os.Open(path)
	if err != nil {
		t.Error(err)
		return
	}
	defer f.Close()
	r := bufio.NewReader(f)
	_, err = r.ReadString('\n')
	close(w.up)
	if err != nil {
		t.Errorf("the process did not come up: %v", err)
		return
	}
	rest, err := io.ReadAll(r)
	if err != nil {
		t.Error(err)
	}
	w.last <- string(rest)
}

// release lets the process go on past its wait.
func (w *witness) release(t *testing.T) {
	t.Helper()
	if _, err := w.free.WriteString("go\n"); err != nil {
		t.Error(err)
	}
}

// runAndCancel cancels the command once the witness is up.
func (w *witness) runAndCancel(t *testing.T, c Command) (Result, error) {
	t.Helper()
	return w.runAndCancelWith(t, c, killer{kill: syscall.Kill, reapDelay: reapDelay})
}

func (w *witness) runAndCancelWith(t *testing.T, c Command, k killer) (Result, error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		<-w.up
		cancel()
	}()
	c.Env = w.env
	return run(ctx, c, k)
}

func TestTimeout(t *testing.T) {
	for _, argv := range [][]string{{"sleep", "600"}, {"yes"}} {
		r, err := Run(t.Context(), Command{Argv: argv, Timeout: 50 * time.Millisecond})
		if !errors.Is(err, ErrTimeout) {
			t.Fatalf("got %v, want ErrTimeout", err)
		}
		want := `command "` + strings.Join(argv, " ") + `" did not finish in 50ms and was killed`
		if !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got  %s\nwant %s", err, want)
		}
		if r.Signal != "SIGTERM" || r.ExitCode != -1 {
			t.Errorf("ended by %q with %d", r.Signal, r.ExitCode)
		}
	}
}

func TestCancelGivesTheProgramItsGrace(t *testing.T) {
	w := newWitness(t)
	r, err := w.runAndCancel(t, Command{
		Argv:  sh(`exec 9>"$ALIVE"; trap "echo cleaned up; exit 0" TERM; echo up >&9; while :; do sleep 1; done`),
		Grace: time.Minute,
	})
	if !errors.Is(err, context.Canceled) || errors.Is(err, ErrTimeout) {
		t.Fatalf("got %v, want context.Canceled", err)
	}
	if want := ": cleaned up"; !strings.HasSuffix(err.Error(), want) {
		t.Errorf("got  %s\nwant …%s", err, want)
	}
	if !strings.HasSuffix(r.Output, "cleaned up\n") || r.ExitCode != 0 { // some shells tell of their sleep before
		t.Errorf("got %+v", r)
	}
}

func TestIgnoringTermDoesNotHelp(t *testing.T) {
	w := newWitness(t)
	r, err := w.runAndCancel(t, Command{
		Argv:  sh(`exec 9>"$ALIVE"; trap "" TERM; echo up >&9; read x <"$GO"; echo survived >&9`),
		Grace: 50 * time.Millisecond,
	})
	w.release(t)
	if !errors.Is(err, context.Canceled) || r.Signal != "SIGKILL" {
		t.Errorf("got %+v, %v, want SIGKILL", r, err)
	}
	if said := <-w.last; said != "" {
		t.Errorf("the program %s", said)
	}
}

// The leader ends at once, with or without SIGTERM; the background child
// ignores it, and holds our pipe as its standard error.
const stubbornChild = `(exec 9>"$ALIVE"; trap "" TERM; echo up >&9; read x <"$GO"; echo survived >&9) & `

func TestTheWholeGroupIsKilled(t *testing.T) {
	w := newWitness(t)
	r, err := w.runAndCancel(t, Command{Argv: sh(stubbornChild + "wait"), Grace: 50 * time.Millisecond})
	w.release(t)
	if !errors.Is(err, context.Canceled) || r.Signal != "SIGTERM" {
		t.Errorf("got %+v, %v, want the leader to end by SIGTERM", r, err)
	}
	if said := <-w.last; said != "" {
		t.Errorf("the background child %s", said)
	}
}

func TestTheWholeGroupHasItsGrace(t *testing.T) {
	w := newWitness(t)
	child := `(exec 9>"$ALIVE"; trap 'read x <"$GO"; echo cleaned up >&9; exit' TERM; echo up >&9; while :; do sleep 1; done) & `
	var released sync.Once
	k := killer{reapDelay: reapDelay, kill: func(pid int, sig syscall.Signal) error {
		if sig == 0 { // so the leader has ended, and somebody asks for the others
			released.Do(func() { w.release(t) })
		}
		return syscall.Kill(pid, sig)
	}}
	_, err := w.runAndCancelWith(t, Command{Argv: sh(child + "wait"), Grace: time.Minute}, k)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if said := <-w.last; said != "cleaned up\n" {
		t.Errorf("the child of a leader that ended at once said %q", said)
	}
}

func TestBackgroundChildrenSurviveSuccess(t *testing.T) {
	w := newWitness(t)
	// Forked twice, so that it is an orphan when the leader ends.
	r, err := Run(t.Context(), Command{Argv: sh("(" + stubbornChild + ") ; echo done"), Env: w.env})
	w.release(t)
	if err != nil || r.Output != "done\n" {
		t.Errorf("got %+v, %v", r, err)
	}
	if said := <-w.last; said != "survived\n" {
		t.Errorf("the background child said %q", said)
	}
}

func TestABackgroundFloodDoesNotHoldUsUp(t *testing.T) {
	r, err := Run(t.Context(), Command{Argv: sh("yes & echo done")})
	if err != nil || r.ExitCode != 0 || len(r.Output) > MaxOutput {
		t.Errorf("got %d bytes, exit %d, %v", len(r.Output), r.ExitCode, err)
	}
}

// A program that runs as another user, such as with sudo, cannot be killed.
func TestWhatCannotBeKilledIsGivenUp(t *testing.T) {
	tests := []struct {
		name string
		kill error
		want string
	}{
		{"no permission", syscall.EPERM, "operation not permitted: up"},
		{"stuck in the kernel", nil, "SIGKILL: up"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWitness(t)
			k := killer{kill: func(int, syscall.Signal) error { return tt.kill }, reapDelay: time.Millisecond}
			r, err := w.runAndCancelWith(t, Command{
				Argv:  sh(`exec 9>"$ALIVE"; echo up; echo up >&9; read x <"$GO"`),
				Grace: time.Millisecond,
			}, k)
			w.release(t)
			<-w.last // it has ended now
			if !errors.Is(err, context.Canceled) || !strings.HasSuffix(err.Error(), tt.want) {
				t.Errorf("got  %v\nwant …%s", err, tt.want)
			}
			if r.ExitCode != -1 || r.Signal != "" {
				t.Errorf("got %+v of a program that has not ended", r)
			}
		})
	}
}
