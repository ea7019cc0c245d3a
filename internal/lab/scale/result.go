//go:build linux

package scale

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"kvexpress/internal/fleet"
	"kvexpress/internal/kv"
)

// Result is what a run came to. Print shows it to people, and as JSON it has all.
type Result struct {
	Nodes      int          `json:"nodes"` // each a process
	Servers    int          `json:"servers"`
	Processors int          `json:"processors"`
	Kernel     string       `json:"kernel"`
	Tokens     fleet.Millis `json:"tokens_ms"`   // how long it took to make all tokens
	Started    fleet.Millis `json:"started_ms"`  // from the first start until all had their file
	Reported   fleet.Millis `json:"reported_ms"` // and until all had reported
	Memory     Memory       `json:"memory"`
	Hosts      []Change     `json:"hosts"`
	AdHoc      *Change      `json:"adhoc,omitempty"` // nil: it did not come to that
}

// Memory is in bytes, of the fleet at rest.
type Memory struct {
	Available int64 `json:"available"` // before the start
	Fit       int   `json:"fit"`       // how many agents would have fitted
	Taken     int64 `json:"taken"`     // how much less was available after: with the kernel's and Consul's part
	// Share counts what processes have in common once (Pss), Anonymous is their own.
	Share             int64 `json:"share"`
	ShareOfMedian     int64 `json:"share_of_median"`
	Anonymous         int64 `json:"anonymous"`
	AnonymousOfMedian int64 `json:"anonymous_of_median"`
	Threads           int   `json:"threads"`
	Consul            int64 `json:"consul"` // of all servers
}

// CPU is user and system time, of a window of time. What execs use is in that of the
// machine alone: the kernel tells it of an agent's children in hundredths of a second, of
// which each takes a fraction.
type CPU struct {
	Window    time.Duration `json:"window_ns"`
	Agents    time.Duration `json:"agents_ns"`    // without their execs
	Consul    time.Duration `json:"consul_ns"`    // all servers
	Publisher time.Duration `json:"publisher_ns"` // `in`, with its wait
	Lab       time.Duration `json:"lab_ns"`       // this process
	Machine   time.Duration `json:"machine_ns"`   // all of it, whoever else is busy included
}

// Change is a version, and what became of it.
type Change struct {
	Key   kv.Key `json:"key"`
	Nodes int    `json:"nodes"`
	// Right is how many files have exactly the bytes, and Ran how many execs ran exactly
	// once for them.
	Right int `json:"right"`
	Ran   int `json:"ran"`
	// Took is how long `in --wait 100%` took.
	Took     fleet.Millis `json:"took_ms"`
	Status   fleet.Report `json:"status"` // as `status --json` has it
	Compared Comparison   `json:"compared"`
	// Told and Seen are of which that was made, node by node.
	Told []Told `json:"told"`
	Seen []Seen `json:"seen"`
	// Busy is from the publish until the fleet was at rest again, and Rest as long after.
	Busy  CPU      `json:"busy"`
	Rest  CPU      `json:"rest"`
	Wrong []string `json:"wrong"` // beside what was compared
}

func (c *Change) problem(format string, args ...any) {
	c.Wrong = append(c.Wrong, fmt.Sprintf(format, args...))
}

// Update is the CPU of one node's update, of the busy window less the one at rest.
func (c Change) Update() CPU {
	n := time.Duration(max(1, c.Nodes))
	net := func(busy, rest time.Duration) time.Duration { return (busy - rest) / n }
	return CPU{
		Window: c.Busy.Window, Agents: net(c.Busy.Agents, c.Rest.Agents),
		Consul: net(c.Busy.Consul, c.Rest.Consul), Publisher: net(c.Busy.Publisher, c.Rest.Publisher),
		Lab: net(c.Busy.Lab, c.Rest.Lab), Machine: net(c.Busy.Machine, c.Rest.Machine),
	}
}

// line is the change in a few words.
func (c Change) line() string {
	return fmt.Sprintf("%s, version %d: %d of %d files, %d execs, last in place after %v, %d problems", c.Key, c.Status.Version, c.Right, c.Nodes, c.Ran,
		time.Duration(c.Compared.InPlace.Last).Round(time.Millisecond), len(c.Wrong)+len(c.Compared.Problems))
}

// Problems are what the fleet did wrong, and what does not agree; none if all is well.
func (r *Result) Problems() []string {
	var all []string
	changes := slices.Clone(r.Hosts)
	if r.AdHoc != nil {
		changes = append(changes, *r.AdHoc)
	}
	for _, c := range changes {
		about := fmt.Sprintf("%s, version %d: ", c.Key, c.Status.Version)
		for _, p := range slices.Concat(c.Wrong, c.Compared.Problems) {
			all = append(all, about+p)
		}
		if c.Right != r.Nodes || c.Ran != r.Nodes {
			all = append(all, fmt.Sprintf("%s%d files are right and %d execs ran once, of %d", about, c.Right, c.Ran, r.Nodes))
		}
	}
	return all
}

// about notes what it is run on.
func (r *Result) about(o Options, available int64) {
	kernel, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		kernel = []byte("unknown")
	}
	r.Nodes, r.Servers, r.Processors, r.Kernel = o.Nodes, len(o.Servers), runtime.NumCPU(), strings.TrimSpace(string(kernel))
	r.Memory.Available, r.Memory.Fit = available, agents().Fit(available)
}

// median is that of values in any order; the larger of two in the middle.
func median[T int64 | time.Duration | fleet.Millis](all []T) T {
	if len(all) == 0 {
		return 0
	}
	return slices.Sorted(slices.Values(all))[len(all)/2]
}
