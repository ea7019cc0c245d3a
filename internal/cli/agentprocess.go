package cli

import (
	"bytes"
	"os"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"kvexpress/internal/agent"
	"kvexpress/internal/observe"
)

// process writes the metrics of this process, under the names that Prometheus' own clients use. A value that the kernel does
// not tell is left out, as without /proc.
func (m agentMetrics) process(s agent.Status) {
	m.Family("kvexpress_build_info", observe.Gauge, "Version of the program; always 1.")
	m.Sample(1, observe.With("version", s.Version), observe.With("goversion", runtime.Version()))
	m.One("process_start_time_seconds", observe.Gauge, "When the agent started, in Unix seconds.", unixSeconds(&s.Started))
	m.One("go_goroutines", observe.Gauge, "Goroutines that exist now.", float64(runtime.NumGoroutine()))
	if bytes := residentMemory(); bytes > 0 {
		m.One("process_resident_memory_bytes", observe.Gauge, "Resident memory.", bytes)
	}
	var use unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &use); err == nil {
		cpu := time.Duration(use.Utime.Nano() + use.Stime.Nano())
		m.One("process_cpu_seconds_total", observe.Counter, "User and system time of the agent, without its execs.", cpu.Seconds())
	}
	if fds, err := os.ReadDir("/proc/self/fd"); err == nil {
		m.One("process_open_fds", observe.Gauge, "Open file descriptors.", float64(len(fds)-1)) // without ReadDir's own
	}
}

func residentMemory() (size float64) {
	statm, err := os.ReadFile("/proc/self/statm")
	fields := bytes.Fields(statm) // in pages: total, resident, …
	if err != nil || len(fields) < 2 {
		return 0
	}
	pages, _ := strconv.ParseUint(string(fields[1]), 10, 64)
	return float64(pages) * float64(os.Getpagesize())
}
