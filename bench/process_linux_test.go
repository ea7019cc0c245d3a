package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"kvexpress/internal/testutil/consultest"
	"kvexpress/test/e2e"
)

// fleet is the processes of one kind that run now, one for each node or one for
// all. They end with the benchmark at the latest.
type fleet struct {
	b     *testing.B
	procs []*consultest.Process
	log   string // what they print
}

func newFleet(b *testing.B, log string) *fleet {
	f := &fleet{b: b, log: log}
	b.Cleanup(f.stop)
	return f
}

// spawn starts one process.
func (f *fleet) spawn(env []string, name string, args ...string) {
	f.b.Helper()
	p, err := consultest.StartProcess(name, args, append(append(os.Environ(), "KVEXPRESS_SYSLOG=off"), env...), "", f.log)
	if err != nil {
		f.b.Fatal(err)
	}
	f.procs = append(f.procs, p)
}

// stop ends all as a terminal does (consul-template does not know SIGTERM), and
// kills the rest after a while.
func (f *fleet) stop() {
	for _, p := range f.procs {
		p.Signal(os.Interrupt)
	}
	for _, p := range f.procs {
		p.End(os.Interrupt)
	}
	f.procs = nil
}

// ended is an error if a process has ended by itself.
func (f *fleet) ended() error {
	for _, p := range f.procs {
		if p.Ended() {
			return fmt.Errorf("%s ended by itself: %v\n%s", filepath.Base(p.Cmd.Path), p.Cmd.ProcessState, f.lastWords())
		}
	}
	return nil
}

func (f *fleet) lastWords() string {
	said, err := os.ReadFile(f.log)
	if err != nil {
		return err.Error()
	}
	return e2e.Tail(string(said), 20)
}

// cpu is the sum over the processes.
func (f *fleet) cpu() time.Duration {
	f.b.Helper()
	var sum time.Duration
	for _, p := range f.procs {
		d, err := processCPU(p.Cmd.Process.Pid)
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
		m, err := processMemory(p.Cmd.Process.Pid)
		if err != nil {
			f.b.Fatal(err)
		}
		anonymous, resident = append(anonymous, m.anonymous), append(resident, m.resident)
	}
	return memory{middle(anonymous), middle(resident)}
}
