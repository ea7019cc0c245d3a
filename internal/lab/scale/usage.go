//go:build linux

package scale

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

const tick = time.Second / 100 // in which /proc counts CPU

// usage is what was used of the processors up to a moment.
type usage struct {
	at time.Time
	CPU
}

// usage is all that is counted.
func (s *site) usage() (usage, error) {
	u := usage{at: time.Now()}
	for _, p := range s.processes.list() {
		own, err := processCPU(p.pid())
		if err != nil {
			return u, fmt.Errorf("%s: %w", p.name, err)
		}
		u.Agents += own
	}
	for _, server := range s.Servers {
		own, err := processCPU(server.PID)
		if err != nil {
			return u, fmt.Errorf("consul at %s: %w", server.Addr, err)
		}
		u.Consul += own
	}
	var err error
	if u.Lab, err = processCPU(os.Getpid()); err != nil {
		return u, err
	}
	u.Machine, err = machineCPU()
	return u, err
}

// since is what was used between two moments.
func (u usage) since(v usage) CPU {
	return CPU{
		Window: u.at.Sub(v.at), Agents: u.Agents - v.Agents, Consul: u.Consul - v.Consul,
		Publisher: u.Publisher - v.Publisher, Lab: u.Lab - v.Lab, Machine: u.Machine - v.Machine,
	}
}

// processCPU is what a process has used so far, with its threads that have ended, to the
// nanosecond; without its children.
func processCPU(pid int) (time.Duration, error) {
	const sched = 2 // CPUCLOCK_SCHED: the clock's number is made as clock_getcpuclockid(3) does
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|sched), &t); err != nil {
		return 0, fmt.Errorf("CPU time of process %d: %w", pid, err)
	}
	return time.Duration(t.Nano()), nil
}

// machineCPU is what all processors of the machine have used so far, in ticks.
func machineCPU() (time.Duration, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	line, _, _ := bytes.Cut(text, []byte("\n"))
	fields := bytes.Fields(line)
	var ticks int64
	for _, i := range []int{1, 2, 3, 6, 7} { // user, nice, system, irq, softirq
		n, err := strconv.ParseInt(string(fields[i]), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/stat: %w", err)
		}
		ticks += n
	}
	return time.Duration(ticks) * tick, nil
}

// measure notes what the processes have of the machine's memory, at rest.
func (r *Result) measure(all []*process, servers []Server) error {
	var shares, anonymous []int64
	for _, p := range all {
		of, err := processMemory(p.pid())
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		shares, anonymous = append(shares, of.share), append(anonymous, of.anonymous)
		r.Memory.Share += of.share
		r.Memory.Anonymous += of.anonymous
		r.Memory.Threads += of.threads
	}
	r.Memory.ShareOfMedian, r.Memory.AnonymousOfMedian = median(shares), median(anonymous)
	for _, server := range servers {
		of, err := processMemory(server.PID)
		if err != nil {
			return fmt.Errorf("consul at %s: %w", server.Addr, err)
		}
		r.Memory.Consul += of.share
	}
	left, err := meminfo("MemAvailable")
	r.Memory.Taken = r.Memory.Available - left
	return err
}

type memory struct {
	share     int64 // bytes: its own, and its part of what it shares (Pss)
	anonymous int64 // bytes: its own
	threads   int
}

func processMemory(pid int) (memory, error) {
	var m memory
	path := fmt.Sprintf("/proc/%d/smaps_rollup", pid)
	text, err := os.ReadFile(path)
	if err != nil {
		return m, err
	}
	want := map[string]*int64{"Pss": &m.share, "Anonymous": &m.anonymous}
	for line := range bytes.Lines(text) {
		name, value, _ := bytes.Cut(line, []byte(":"))
		to := want[string(name)]
		if to == nil {
			continue
		}
		kib, err := strconv.ParseInt(string(bytes.Fields(value)[0]), 10, 64)
		if err != nil {
			return m, fmt.Errorf("%s: %w", path, err)
		}
		*to = kib << 10
	}
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	m.threads = len(tasks)
	return m, err
}
