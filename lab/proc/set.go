package proc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
)

// mark is in the environment of a unit's processes and of all that they start: by it
// they are found.
const mark = "KVEXPRESS_LAB_UNIT"

// Set is the programs of a lab. The kernel ends them with it, so that a lab that is killed leaves nothing.
type Set struct {
	dir     string // all logs are below it
	closing atomic.Bool

	mu    sync.Mutex
	units []*Unit
}

// NewSet returns an empty Set whose logs are below dir. Call Close.
func NewSet(dir string) *Set { return &Set{dir: dir} }

// start runs a command in a process group of its own: Ctrl-C is for the lab alone. Go never ends the
// thread that starts it, for which the kernel would end the command, too.
func start(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	return cmd.Start()
}

// Add makes a unit a part of the Set. It does not start it.
func (s *Set) Add(u *Unit) *Unit {
	u.set = s
	s.mu.Lock()
	defer s.mu.Unlock()
	s.units = append(s.units, u)
	return u
}

// Close ends all programs and waits for them. Nothing may be started after it.
func (s *Set) Close() error {
	s.closing.Store(true)
	var err error
	for _, last := range []bool{false, true} {
		some := slices.DeleteFunc(slices.Clone(s.units), func(u *Unit) bool { return u.Last != last })
		err = errors.Join(err, Each(some, (*Unit).Stop))
	}
	killMarked(s.dir)
	return err
}

// Left are the processes of the Set that still run: after Close, none.
func (s *Set) Left() []int { return marked(s.dir) }

// Run runs a command to its end and returns what it printed. The error has its
// stderr, and is an *exec.ExitError for an exit code other than 0.
func (s *Set) Run(ctx context.Context, env []string, argv ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir, cmd.Env = s.dir, append(append(environ(), env...), mark+"="+s.dir)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := start(cmd)
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return stdout.String(), err
}

// killMarked ends all processes of a mark, those too that are started meanwhile.
func killMarked(of string) {
	for range 100 {
		pids := marked(of)
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended by itself
		}
		if len(pids) == 0 {
			return
		}
	}
}

// marked finds the processes that have the mark, or one below it.
func marked(of string) []int {
	paths, _ := filepath.Glob("/proc/[0-9]*/environ") // the pattern is a good one
	var pids []int
	for _, path := range paths {
		env, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended, or is another user's
		}
		for pair := range bytes.SplitSeq(env, []byte{0}) {
			value, ok := bytes.CutPrefix(pair, []byte(mark+"="))
			if ok && (string(value) == of || bytes.HasPrefix(value, []byte(of+"/"))) {
				pid, _ := strconv.Atoi(strings.Split(path, "/")[2]) // a number
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// environ is the lab's own environment without what would change what its programs do.
// The machine's syslog is not for them: they have logs of their own.
func environ() []string {
	return append(slices.DeleteFunc(os.Environ(), func(pair string) bool {
		return strings.HasPrefix(pair, "CONSUL_") || strings.HasPrefix(pair, "KVEXPRESS_")
	}), "KVEXPRESS_SYSLOG=off")
}

// Tail is the last lines of a file.
func Tail(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(all[max(0, len(all)-20):], "\n")
}
