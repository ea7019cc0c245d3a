package agent

import (
	"runtime"

	"kvexpress/internal/observe"
)

// process has the names that Prometheus' own clients use.
func (m metrics) process(s Status) {
	m.Family("kvexpress_build_info", observe.Gauge, "What runs here; always 1.")
	m.Sample(1, observe.With("version", s.Version), observe.With("goversion", runtime.Version()))
	m.One("process_start_time_seconds", observe.Gauge, "When the agent began, in Unix seconds.", unixSeconds(&s.Started))
	m.One("go_goroutines", observe.Gauge, "Goroutines that exist now.", float64(runtime.NumGoroutine()))
	use := usage()
	if use.resident > 0 {
		m.One("process_resident_memory_bytes", observe.Gauge, "Resident memory.", use.resident)
	}
	if use.cpu > 0 {
		m.One("process_cpu_seconds_total", observe.Counter, "User and system time spent by the agent, without its execs.", use.cpu)
	}
	if use.files > 0 {
		m.One("process_open_fds", observe.Gauge, "Open file descriptors.", use.files)
	}
}

// processUse is what this process uses. What is 0 is not known.
type processUse struct {
	resident float64 // bytes
	cpu      float64 // seconds
	files    float64 // open descriptors
}
