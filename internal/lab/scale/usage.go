//go:build linux

package scale

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"

	"kvexpress/internal/lab/machine"
)

// usage is what was used of the processors up to a moment.
type usage struct {
	at time.Time
	CPU
}

// usage is all that is counted.
func (s *site) usage() (usage, error) {
	u := usage{at: time.Now()}
	for _, p := range s.processes.list() {
		own, err := machine.ProcessCPU(p.pid())
		if err != nil {
			return u, fmt.Errorf("%s: %w", p.name, err)
		}
		u.Agents += own
	}
	for _, server := range s.Servers {
		own, err := machine.ProcessCPU(server.PID)
		if err != nil {
			return u, fmt.Errorf("consul at %s: %w", server.Addr, err)
		}
		u.Consul += own
	}
	var err error
	if u.Lab, err = machine.ProcessCPU(os.Getpid()); err != nil {
		return u, err
	}
	u.Machine, err = machine.CPU()
	return u, err
}

// since is what was used between two moments.
func (u usage) since(v usage) CPU {
	return CPU{
		Window: u.at.Sub(v.at), Agents: u.Agents - v.Agents, Consul: u.Consul - v.Consul,
		Publisher: u.Publisher - v.Publisher, Lab: u.Lab - v.Lab, Machine: u.Machine - v.Machine,
	}
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
	left, err := machine.Available()
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
