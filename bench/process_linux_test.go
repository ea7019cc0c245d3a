package bench

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// fleet is the processes of one kind that run now, one for each node or one for
// all. They end with the benchmark, whatever happens to it.
type fleet struct {
	b     *testing.B
	procs []*process
	log   string     // what they print
	died  chan error // the first that ended by itself
	ended chan struct{}
}

type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it was waited for
}

func newFleet(b *testing.B, log string) *fleet {
	f := &fleet{b: b, log: log, died: make(chan error, 1), ended: make(chan struct{})}
	b.Cleanup(f.stop)
	return f
}

// spawn starts one process.
func (f *fleet) spawn(env []string, name string, args ...string) *process {
	f.b.Helper()
	out, err := os.OpenFile(f.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		f.b.Fatal(err)
	}
	defer out.Close() // the child has its own
	cmd := exec.Command(name, args...)
	cmd.Env = append(append(os.Environ(), "KVEXPRESS_SYSLOG=off"), env...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		f.b.Fatal(err)
	}
	p := &process{cmd: cmd, done: make(chan struct{})}
	f.procs = append(f.procs, p)
	go func() { // ends with the process, for which stop waits
		defer close(p.done)
		err := cmd.Wait()
		select {
		case <-f.ended:
		default:
			select {
			case f.died <- fmt.Errorf("%s ended by itself: %w\n%s", filepath.Base(name), errors.Join(err), f.lastWords()):
			default:
			}
		}
	}()
	return p
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// stop ends all as a terminal does (consul-template does not know SIGTERM), and
// kills the rest after a while.
func (f *fleet) stop() {
	select {
	case <-f.ended:
		return
	default:
		close(f.ended)
	}
	for _, p := range f.procs {
		_ = p.cmd.Process.Signal(os.Interrupt) // it may have ended
	}
	timer := time.NewTimer(20 * time.Second)
	defer timer.Stop()
	late := 0
	for _, p := range f.procs {
		select {
		case <-p.done:
			continue
		default:
		}
		select {
		case <-p.done:
		case <-timer.C:
			timer.Reset(0) // and for the next
			late++
			_ = p.cmd.Process.Kill()
			<-p.done
		}
	}
	if late > 0 {
		f.b.Errorf("%d of %d processes did not end within 20 s and were killed\n%s", late, len(f.procs), f.lastWords())
	}
}

func (f *fleet) lastWords() string {
	said, err := os.ReadFile(f.log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(said)), "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}

// cpu is the sum over the processes.
func (f *fleet) cpu() time.Duration {
	f.b.Helper()
	var sum time.Duration
	for _, p := range f.procs {
		d, err := processCPU(p.pid())
		if err != nil {
			f.b.Fatalf("%v\n%s", err, f.lastWords())
		}
		sum += d
	}
	return sum
}

// memory is the memory of the median process.
func (f *fleet) memory() memory {
	f.b.Helper()
	var anonymous, resident []float64
	for _, p := range f.procs {
		m, err := processMemory(p.pid())
		if err != nil {
			f.b.Fatal(err)
		}
		anonymous, resident = append(anonymous, m.anonymous), append(resident, m.resident)
	}
	return memory{middle(anonymous), middle(resident)}
}
