//go:build linux

package scale

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"kvexpress/internal/fleet"
)

// Print writes the result as tables: times and CPU are medians over the changes of the
// hosts file, and those of the ad hoc file.
func (r *Result) Print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	m := r.Memory
	fmt.Fprintf(t, "%d agents as processes, %d Consul servers, %d processors, Linux %s\n", r.Nodes, r.Servers, r.Processors, r.Kernel)
	fmt.Fprintf(t, "memory: %s available, %d agents fit; %s less available with all of them, of which agents %s, Consul %s\n",
		mib(m.Available), m.Fit, mib(m.Taken), mib(m.Share), mib(m.Consul))
	fmt.Fprintf(t, "an agent: %s with its part of what is shared, %s of its own, %.1f threads\n",
		mib(m.ShareOfMedian), mib(m.AnonymousOfMedian), float64(m.Threads)/float64(max(1, r.Nodes)))
	fmt.Fprintf(t, "tokens %v, start until all have their file %v, until all have reported %v\n", round(r.Tokens), round(r.Started), round(r.Reported))
	if len(r.Hosts) > 0 {
		fmt.Fprintf(t, "\nhosts, median of %d changes\t", len(r.Hosts))
		printTimes(t, r.Hosts)
	}
	if r.AdHoc != nil {
		fmt.Fprint(t, "\nad hoc, from a URL\t")
		printTimes(t, []Change{*r.AdHoc})
	}
	if len(r.Hosts) > 0 {
		fmt.Fprint(t, "\nCPU of a node's update, ms\tagent\tConsul\tin --wait\tlab\tmachine\t\n")
		printCPU(t, "hosts", r.Hosts)
	}
	if r.AdHoc != nil {
		printCPU(t, "ad hoc", []Change{*r.AdHoc})
	}
	for _, p := range r.Problems() {
		fmt.Fprintf(t, "\n%s", p)
	}
	return t.Flush()
}

func printTimes(w io.Writer, all []Change) {
	fmt.Fprint(w, "p50\tp90\tp99\tlast\tnodes\t\n")
	for _, row := range []struct {
		name string
		of   func(Change) fleet.Percentiles
	}{
		{"delivered, status", func(c Change) fleet.Percentiles { return c.Status.Delivered }},
		{"in place, from outside", func(c Change) fleet.Percentiles { return c.Compared.InPlace }},
		{"on the node, status", func(c Change) fleet.Percentiles { return c.Status.OnNode }},
		{"  of it rename and fsync", func(c Change) fleet.Percentiles { return c.Compared.Place }},
		{"exec, status", func(c Change) fleet.Percentiles { return c.Status.Exec }},
		{"delivered with exec, receipts", func(c Change) fleet.Percentiles { return c.Compared.ToldDone }},
		{"exec done, from outside", func(c Change) fleet.Percentiles { return c.Compared.Done }},
	} {
		p := medians(all, row.of)
		fmt.Fprintf(w, "%s\t%v\t%v\t%v\t%v\t%d\t\n", row.name, round(p.P50), round(p.P90), round(p.P99), round(p.Last), p.Count)
	}
	var early, late, gap, took fleet.Millis
	accused := 0
	var waits []fleet.Millis
	for _, c := range all {
		early, late, gap = max(early, c.Compared.Early), max(late, c.Compared.Late), max(gap, c.Compared.Gap)
		waits = append(waits, c.Took)
		accused += c.Compared.Accused
	}
	took = median(waits)
	fmt.Fprintf(w, "node by node: seen %v before a receipt allows, at most, and %v after, tolerance %v; exec begun %v later, at most\n",
		round(early), round(late), round(all[0].Compared.Tolerance), round(gap))
	if accused > 0 {
		fmt.Fprintf(w, "clocks that status takes for wrong, since receipts were slow: %d, of %d receipts\n", accused, all[0].Nodes*len(all))
	}
	fmt.Fprintf(w, "in --wait 100%%: %v\n", round(took))
}

// medians are of each percentile by itself; the count is the least.
func medians(all []Change, of func(Change) fleet.Percentiles) fleet.Percentiles {
	var p50, p90, p99, last []fleet.Millis
	least := of(all[0]).Count
	for _, c := range all {
		p := of(c)
		p50, p90, p99, last = append(p50, p.P50), append(p90, p.P90), append(p99, p.P99), append(last, p.Last)
		least = min(least, p.Count)
	}
	return fleet.Percentiles{Count: least, P50: median(p50), P90: median(p90), P99: median(p99), Last: median(last)}
}

func printCPU(w io.Writer, name string, all []Change) {
	fmt.Fprint(w, name)
	for _, of := range []func(CPU) time.Duration{
		func(c CPU) time.Duration { return c.Agents }, func(c CPU) time.Duration { return c.Consul },
		func(c CPU) time.Duration { return c.Publisher }, func(c CPU) time.Duration { return c.Lab }, func(c CPU) time.Duration { return c.Machine },
	} {
		var each []time.Duration
		for _, c := range all {
			each = append(each, of(c.Update()))
		}
		fmt.Fprintf(w, "\t%.3f", median(each).Seconds()*1000)
	}
	fmt.Fprint(w, "\t\n")
}

func mib(bytes int64) string {
	const unit = 1 << 20
	if bytes < 100*unit {
		return fmt.Sprintf("%.1f MiB", float64(bytes)/unit)
	}
	return fmt.Sprintf("%d MiB", bytes/unit)
}

// round leaves three digits or so.
func round(m fleet.Millis) time.Duration {
	d := time.Duration(m)
	switch {
	case d.Abs() >= time.Second:
		return d.Round(10 * time.Millisecond)
	case d.Abs() >= 100*time.Millisecond:
		return d.Round(time.Millisecond)
	}
	return d.Round(10 * time.Microsecond)
}
