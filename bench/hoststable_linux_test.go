package bench

import (
	"fmt"
	"testing"
	"time"

	"kvexpress/internal/lab"
)

// hostsMedians are those of a block, for the log.
func hostsMedians(changes []lab.Change) string {
	total := lab.Stage{Of: lab.Change.Last}.Percentiles(changes)
	share := lab.Stage{Of: lab.Change.Share}.Percentiles(changes)
	return fmt.Sprintf("p50 %.1f, %.1f; max %.1f, %.1f ms", ms(share.P50), ms(total.P50), ms(share.Max), ms(total.Max))
}

// report prints what kvexpress takes compared with all that consul-template on each node
// takes, then CPU, and at last the stages of each kind, over all blocks. Without -v, go
// test shows only the first lines.
func (f hostsFleet) report(b *testing.B, kinds []kind, results map[kind][]hostsBlock) {
	all := map[kind][]lab.Change{}
	for _, k := range kinds {
		for _, r := range results[k] {
			all[k] = append(all[k], r.changes...)
		}
	}
	if results[hostsTemplate] != nil {
		f.ratios(b, kinds, results, all)
	}
	f.costs(b, kinds, results)
	for _, k := range kinds {
		b.Logf("%s: %d servers, %d services\n%s", k, f.servers, f.services, lab.Table(all[k]))
	}
	b.ReportMetric(0, "ns/op") // one run of all blocks means nothing
}

// ratios prints those to all that consul-template on each node takes.
func (f hostsFleet) ratios(b *testing.B, kinds []kind, results map[kind][]hostsBlock, all map[kind][]lab.Change) {
	share, total := lab.Stage{Of: lab.Change.Share}, lab.Stage{Of: lab.Change.Last}
	columns := []struct {
		name string
		of   func(lab.Percentiles) time.Duration
	}{
		{"p50", func(p lab.Percentiles) time.Duration { return p.P50 }},
		{"p90", func(p lab.Percentiles) time.Duration { return p.P90 }},
		{"p99", func(p lab.Percentiles) time.Duration { return p.P99 }},
		{"max", func(p lab.Percentiles) time.Duration { return p.Max }},
	}
	table := newTable()
	fmt.Fprintf(table, "to the last answer with %s", hostsTemplate)
	for _, c := range columns {
		fmt.Fprintf(table, "\t%s", c.name)
	}
	for _, c := range columns {
		fmt.Fprintf(table, "\tblocks' %s", c.name)
	}
	fmt.Fprint(table, "\t\n")
	for _, k := range kinds {
		if k == hostsTemplate {
			continue
		}
		for _, s := range []struct {
			name string
			lab.Stage
		}{{"share", share}, {"total", total}} {
			fmt.Fprintf(table, "%s, %s", k, s.name)
			ours, theirs := s.Percentiles(all[k]), total.Percentiles(all[hostsTemplate])
			for _, c := range columns {
				ratio := float64(c.of(ours)) / float64(c.of(theirs))
				fmt.Fprintf(table, "\t%.2f ×", ratio)
				if k == hostsMixed && c.name == "p99" {
					b.ReportMetric(ratio, s.name+"-p99-ratio")
				}
			}
			for _, c := range columns { // the median of neighbouring blocks
				var v []float64
				for i, r := range results[k] {
					v = append(v, float64(c.of(s.Percentiles(r.changes)))/float64(c.of(total.Percentiles(results[hostsTemplate][i].changes))))
				}
				fmt.Fprintf(table, "\t%.2f ×", middle(v))
			}
			fmt.Fprint(table, "\t\n")
		}
	}
	table.print(b)
}

// costs prints CPU per change, and at rest.
func (f hostsFleet) costs(b *testing.B, kinds []kind, results map[kind][]hostsBlock) {
	columns := []struct {
		name string
		of   func(hostsCPU) time.Duration
	}{
		{"servers", func(c hostsCPU) time.Duration { return c.servers }},
		{"node agents", func(c hostsCPU) time.Duration { return c.agents }},
		{"renderers", func(c hostsCPU) time.Duration { return c.renderers }},
		{"kvexpress", func(c hostsCPU) time.Duration { return c.kvexpress }},
		{"these", hostsCPU.fleet},
		{"dnsmasq", func(c hostsCPU) time.Duration { return c.dnsmasq }},
		{"bench", func(c hostsCPU) time.Duration { return c.lab }},
		{"machine", func(c hostsCPU) time.Duration { return c.machine }},
	}
	table := newTable()
	fmt.Fprint(table, "CPU, ms per change")
	for _, c := range columns {
		fmt.Fprintf(table, "\t%s", c.name)
	}
	fmt.Fprint(table, "\t\n")
	for _, k := range kinds {
		fmt.Fprintf(table, "%s", k)
		for _, c := range columns {
			var v []float64
			for _, r := range results[k] {
				v = append(v, ms(c.of(r.cpu)))
			}
			fmt.Fprintf(table, "\t%.1f", middle(v))
		}
		fmt.Fprint(table, "\t\n")
	}
	table.print(b)
	if f.rest == 0 {
		return
	}
	table = newTable()
	fmt.Fprint(table, "at rest, ms of CPU a second")
	for _, c := range columns {
		fmt.Fprintf(table, "\t%s", c.name)
	}
	fmt.Fprint(table, "\tRPCs a second to the servers\t\n")
	for _, k := range kinds {
		fmt.Fprintf(table, "%s", k)
		r := results[k][0].resting
		for _, c := range columns {
			fmt.Fprintf(table, "\t%.1f", ms(c.of(r.cpu))/r.took.Seconds())
		}
		fmt.Fprintf(table, "\t%.1f\t\n", r.rpcs)
	}
	table.print(b)
}
