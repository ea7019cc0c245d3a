//go:build linux

package agent

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"time"

	"kvexpress/internal/httpd"
	"kvexpress/test/e2e"
)

// cpuOf is the CPU time that the process has used.
func cpuOf(d *e2e.Daemon) time.Duration {
	d.T.Helper()
	stat := proc(d, "stat")
	// The second field, the name, may hold spaces; it ends with the last ")".
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	var ticks int64 // of a hundredth of a second
	for _, f := range fields[11:13] {
		var n int64
		if _, err := fmt.Sscan(string(f), &n); err != nil {
			d.T.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks*10) * time.Millisecond
}

// descriptors is how many files and sockets are open.
func descriptors(d *e2e.Daemon) int {
	d.T.Helper()
	all, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", d.Cmd.Process.Pid))
	if err != nil {
		d.T.Fatal(err)
	}
	return len(all)
}

// metric is a sample without labels of /metrics.
func metric(d *e2e.Daemon, name string) float64 {
	d.T.Helper()
	page, err := d.Ask(httpd.MetricsPath)
	if err != nil {
		d.T.Fatal(err)
	}
	for _, line := range strings.Split(string(page), "\n") {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			var value float64
			if _, err := fmt.Sscan(rest, &value); err != nil {
				d.T.Fatal(err)
			}
			return value
		}
	}
	d.T.Fatalf("no %s in /metrics", name)
	return 0
}

// memory is a line of /proc/PID/status in KiB: VmHWM, the most that was ever
// resident, or RssAnon, the resident memory without the pages of the program file.
func memory(d *e2e.Daemon, line string) int {
	d.T.Helper()
	for _, l := range strings.Split(string(proc(d, "status")), "\n") {
		if rest, ok := strings.CutPrefix(l, line+":"); ok {
			var kib int
			if _, err := fmt.Sscan(rest, &kib); err != nil {
				d.T.Fatal(err)
			}
			return kib
		}
	}
	d.T.Fatalf("no %s in /proc/PID/status", line)
	return 0
}

// proc is a file of the process below /proc.
func proc(d *e2e.Daemon, name string) []byte {
	d.T.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", d.Cmd.Process.Pid, name))
	if err != nil {
		d.T.Fatal(err)
	}
	return b
}
