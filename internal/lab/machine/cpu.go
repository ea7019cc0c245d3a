//go:build linux

// Package machine is what a fleet on one machine has of it: memory, numbers of processes,
// open files, a disk; and what is used of its processors.
//
// It imports nothing of this module.
package machine

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

const tick = time.Second / 100 // in which /proc counts CPU

// ProcessCPU is what a process has used so far, with its threads that have ended and
// without its children, to the nanosecond: /proc/PID/stat counts hundredths of a second,
// which an idle agent takes minutes to use.
func ProcessCPU(pid int) (time.Duration, error) {
	const sched = 2 // CPUCLOCK_SCHED: the clock's number is made as clock_getcpuclockid(3) does
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|sched), &t); err != nil {
		return 0, fmt.Errorf("CPU time of process %d: %w", pid, err)
	}
	return time.Duration(t.Nano()), nil
}

// CPU is what all processors of the machine have used so far, in ticks.
func CPU() (time.Duration, error) {
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
