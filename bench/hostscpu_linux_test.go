package bench

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"kvexpress/internal/lab"
	"kvexpress/internal/lab/machine"
)

// hostsCPU is the CPU of a lab by who used it. Programs that have ended are in it by
// what the kernel added up for whoever waited for them, in hundredths of a second.
type hostsCPU struct {
	servers   time.Duration // Consul's servers
	agents    time.Duration // Consul's agents on the nodes
	renderers time.Duration // consul-template and consul lock, with their commands but for kvexpress
	kvexpress time.Duration // in, out, agent, with their execs
	dnsmasq   time.Duration // most of it is answers to the lab
	lab       time.Duration // the bench itself
	machine   time.Duration
}

// hostsProcesses are those of a lab that last, by whose CPU they are.
type hostsProcesses struct{ servers, agents, renderers, kvexpress, templates, dnsmasq []int }

// findHostsProcesses looks for them once: that takes more CPU than a change does.
func findHostsProcesses(l *lab.Lab) (p hostsProcesses) {
	add := func(to *[]int, u *lab.Unit) {
		if pid := u.PID(); pid != 0 {
			*to = append(*to, pid)
		}
	}
	for _, s := range l.Servers {
		add(&p.servers, s.Consul)
		p.renderers = append(p.renderers, s.Renderer.PIDs()...) // consul lock, and under one of them consul-template
	}
	for _, n := range l.Nodes {
		add(&p.agents, n.Consul)
		add(&p.kvexpress, n.Agent)
		add(&p.templates, n.Template)
		add(&p.dnsmasq, n.Dnsmasq)
	}
	return p
}

// cpu reads what was used so far, while nothing happens.
func (p hostsProcesses) cpu() (c hostsCPU, err error) {
	var self syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &self); err != nil {
		return c, err
	}
	c.lab = time.Duration(self.Utime.Nano() + self.Stime.Nano())
	if c.machine, err = machine.CPU(); err != nil {
		return c, err
	}
	for _, of := range []struct {
		pids          []int
		own, children *time.Duration
	}{
		{p.servers, &c.servers, &c.servers},
		{p.renderers, &c.renderers, &c.kvexpress}, // its children are kvexpress in
		{p.agents, &c.agents, &c.kvexpress},       // its children are kvexpress out
		{p.kvexpress, &c.kvexpress, &c.kvexpress},
		{p.templates, &c.renderers, &c.renderers},
		{p.dnsmasq, &c.dnsmasq, &c.dnsmasq},
	} {
		for _, pid := range of.pids {
			own, err := machine.ProcessCPU(pid)
			if err != nil {
				return c, err
			}
			ended, err := childrenCPU(pid)
			if err != nil {
				return c, err
			}
			*of.own += own
			*of.children += ended
		}
	}
	return c, nil
}

// childrenCPU is what children of a process, and theirs, used that have ended and were
// waited for.
func childrenCPU(pid int) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The name, in brackets, may hold spaces. cutime and cstime are fields 16 and 17.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	var ticks int64
	for _, i := range []int{13, 14} {
		n, err := strconv.ParseInt(fields[i], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/%d/stat: %w", pid, err)
		}
		ticks += n
	}
	return time.Duration(ticks) * (time.Second / 100), nil
}

// since is what was used since an earlier reading, divided by n.
func (c hostsCPU) since(before hostsCPU, n int) hostsCPU {
	per := func(now, then time.Duration) time.Duration { return (now - then) / time.Duration(n) }
	return hostsCPU{
		servers: per(c.servers, before.servers), agents: per(c.agents, before.agents), renderers: per(c.renderers, before.renderers),
		kvexpress: per(c.kvexpress, before.kvexpress), dnsmasq: per(c.dnsmasq, before.dnsmasq), lab: per(c.lab, before.lab),
		machine: per(c.machine, before.machine),
	}
}

// fleet is what the fleet used, without the bench and the answers to it.
func (c hostsCPU) fleet() time.Duration { return c.servers + c.agents + c.renderers + c.kvexpress }

// hostsRest is what a lab costs in which nothing happens.
type hostsRest struct {
	cpu  hostsCPU      // in took
	took time.Duration // 0: not measured
	// rpcs are the requests a second of all nodes' agents to the servers.
	rpcs float64
}

// atRest measures a lab that nobody asks anything.
func (f hostsFleet) atRest(ctx context.Context, l *lab.Lab) (r hostsRest, err error) {
	time.Sleep(10 * time.Second) // it has just been started
	p := findHostsProcesses(l)
	before, err := p.cpu()
	if err != nil {
		return r, err
	}
	began := time.Now()
	time.Sleep(f.rest)
	after, err := p.cpu()
	if err != nil {
		return r, err
	}
	r.took, r.cpu = time.Since(began), after.since(before, 1)
	r.rpcs, err = l.RPCs(ctx)
	return r, err
}
