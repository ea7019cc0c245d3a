//go:build linux

package scale

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Processes have endLimit, and endEach for each of them, to end by themselves before they
// are killed.
const (
	endLimit = 20 * time.Second
	endEach  = 50 * time.Millisecond
)

// lowest is the priority of the processes. Nodes have processors of their own: where all
// share one machine, a thousand agents that wake up at once must not keep the servers
// from theirs, which then lose their leader.
const lowest = 19

// processes are children that end with us, however that happens: end waits for them, and
// the kernel kills them when the thread that started them is gone. So all are started by
// one goroutine that keeps its thread for as long as they run.
type processes struct {
	jobs chan job
	kill context.CancelFunc
	wg   sync.WaitGroup // of the goroutine that starts them
	died chan error     // holds the first that ended by itself

	mu     sync.Mutex
	ending bool
	all    []*process
}

type process struct {
	name string
	log  string // the file with what it prints
	cmd  *exec.Cmd
	done chan struct{} // closed when it was waited for
}

func (p *process) pid() int { return p.cmd.Process.Pid }

type job struct {
	name string
	log  string
	argv []string
	env  []string
	done chan<- error
}

// hire makes ready to start processes. Call end.
func hire(ctx context.Context) *processes {
	// They outlive ctx for as long as end needs.
	lasting, kill := context.WithCancel(context.WithoutCancel(ctx))
	p := &processes{jobs: make(chan job), kill: kill, died: make(chan error, 1)}
	p.wg.Go(func() { p.work(lasting) })
	return p
}

// work starts processes, and ends when all of them have.
func (p *processes) work(ctx context.Context) {
	runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
	// Children inherit this thread's priority, which is its own.
	if err := unix.Setpriority(unix.PRIO_PROCESS, 0, lowest); err != nil {
		p.fail(fmt.Errorf("give agents the lowest priority: %w", err))
	}
	var running sync.WaitGroup
	for j := range p.jobs {
		one, err := begin(ctx, j)
		if err == nil {
			p.mu.Lock()
			p.all = append(p.all, one)
			p.mu.Unlock()
			running.Go(func() { p.watch(one) })
		}
		j.done <- err
	}
	running.Wait()
}

// begin starts a process, in the folder of its log.
func begin(ctx context.Context, j job) (*process, error) {
	out, err := os.OpenFile(j.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, j.argv[0], j.argv[1:]...)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = j.env, filepath.Dir(j.log), out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := errors.Join(cmd.Start(), out.Close()); err != nil { // the child has its own
		return nil, err
	}
	return &process{name: j.name, log: j.log, cmd: cmd, done: make(chan struct{})}, nil
}

// watch waits for the end of a process, and tells of one that was not asked to.
func (p *processes) watch(one *process) {
	_ = one.cmd.Wait() // how it ended is in its state
	close(one.done)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ending {
		return
	}
	p.fail(fmt.Errorf("%s ended by itself: %s\n%s", one.name, one.cmd.ProcessState, lastWords(one.log)))
}

func (p *processes) fail(err error) {
	select {
	case p.died <- err:
	default: // there is one
	}
}

// run starts one, which prints to the file log, in the folder of that.
func (p *processes) run(name, log string, env []string, argv ...string) error {
	done := make(chan error, 1)
	p.jobs <- job{name: name, log: log, argv: argv, env: env, done: done}
	if err := <-done; err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	return nil
}

// list is those that were started, in order.
func (p *processes) list() []*process {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.all[:len(p.all):len(p.all)]
}

// end ends all with SIGTERM, kills what has not ended in time, and waits for all. The
// error names how many had to be killed, or one that had ended before.
func (p *processes) end() error {
	p.mu.Lock()
	p.ending = true
	all := p.all
	p.mu.Unlock()
	close(p.jobs)
	for _, one := range all {
		_ = one.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	}
	limit := endLimit + time.Duration(len(all))*endEach
	timer := time.NewTimer(limit)
	defer timer.Stop()
	late := 0
	for _, one := range all {
		select {
		case <-one.done:
		case <-timer.C: // once: what is waited for after is killed, too
			late = running(all)
			p.kill()
			<-one.done
		}
	}
	p.kill()
	p.wg.Wait()
	var err error
	if late > 0 {
		err = fmt.Errorf("%d of %d processes did not end within %v and were killed", late, len(all), limit)
	}
	select {
	case died := <-p.died:
		err = errors.Join(died, err)
	default:
	}
	return err
}

// running is how many have not ended.
func running(all []*process) int {
	n := 0
	for _, one := range all {
		select {
		case <-one.done:
		default:
			n++
		}
	}
	return n
}

// lastWords are the last lines of a file.
func lastWords(log string) string {
	text, err := os.ReadFile(log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-10):], "\n")
}
