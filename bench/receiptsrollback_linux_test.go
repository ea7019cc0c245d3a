package bench

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/consultest"
)

// programEnv names a kvexpress that is there, to measure in the place of this one.
const programEnv = "KVEXPRESS_BENCH_PROGRAM"

// BenchmarkReceiptsRollback: from the start of `rollback` to the last node, and the same
// of `in`.
func BenchmarkReceiptsRollback(b *testing.B) {
	nodes, rounds := number(b, nodesEnv, 1200), number(b, roundsEnv, 11)
	program := os.Getenv(programEnv)
	if program == "" {
		program = buildTools(b, ours).kvexpress
	}
	if exec.CommandContext(b.Context(), program, "rollback", "--help").Run() != nil {
		b.Fatalf("%s has no rollback", program)
	}
	server := consultest.Start(b)
	r := tools{}.begin(b, oursTogether, server.Addr, nodes, newPublisher(b, server.Addr))
	defer r.end()
	file := filepath.Join(r.site.Base, "content")
	publish := func() (took []float64, version uint64, content []byte) {
		content = r.pub.content()
		write(b, file, content)
		took, version = r.by(content, program, "in", "-f", file)
		return took, version, content
	}
	_, back, old := publish()
	var rolled, put [][]float64
	for round := range rounds + 1 {
		a, newest, content := publish()
		c, _ := r.by(old, program, "rollback", "--to", strconv.FormatUint(back, 10))
		back, old = newest, content // ten versions are kept
		if round > 0 {              // the first warms up
			put, rolled = append(put, a), append(rolled, c)
		}
	}
	table := newTable()
	fmt.Fprintf(table, "%d nodes, median of %d\tp50 ms\tlast ms\tslowest last ms\t\n", nodes, rounds)
	var ratios []float64
	for i := range put {
		ratios = append(ratios, quantile(rolled[i], 1)/quantile(put[i], 1))
	}
	for _, side := range []struct {
		name string
		took [][]float64
	}{{"in", put}, {"rollback", rolled}} {
		var p50, last []float64
		for _, took := range side.took {
			p50, last = append(p50, quantile(took, 0.5)), append(last, quantile(took, 1))
		}
		fmt.Fprintf(table, "%s\t%.0f\t%.0f\t%.0f\t\n", side.name, middle(p50), middle(last), slices.Max(last))
		b.ReportMetric(middle(last), side.name+"-last-ms")
	}
	slices.Sort(ratios)
	fmt.Fprintf(table, "rollback to in\t\t%.2f × (%.2f to %.2f)\t\t\n", middle(ratios), quantile(ratios, 0.25), quantile(ratios, 0.75))
	b.ReportMetric(middle(ratios), "rollback-x-in")
	table.print(b)
}

// by lets a program change the key to content, and returns how long after its start
// each node had it, in ms, and the version that it is.
func (r *running) by(content []byte, program string, args ...string) (took []float64, version uint64) {
	r.b.Helper()
	r.seen.expect(content)
	cmd := exec.CommandContext(r.b.Context(), program, append(args, "-k", string(key), "-l", "1", "-s", r.site.Addr, "--json")...)
	cmd.Env = append(os.Environ(), "KVEXPRESS_SYSLOG=off")
	start := time.Now()
	said, err := cmd.CombinedOutput()
	if err != nil {
		r.b.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, said)
	}
	var report struct{ Version uint64 }
	if err := json.Unmarshal(said, &report); err != nil {
		r.b.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, said)
	}
	for _, at := range r.wait() {
		took = append(took, ms(at.Sub(start)))
	}
	slices.Sort(took)
	return took, report.Version
}
