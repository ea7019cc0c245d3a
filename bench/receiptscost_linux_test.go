package bench

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"kvexpress/internal/consultest"
)

// reported is what one publish came to.
type reported struct {
	p50, last, receipts float64 // ms from the publish to a file in place, and to the last receipt
	consul, nodes       float64 // ms of CPU
	late                bool    // receipts came after the time in which CPU is counted
}

// BenchmarkReceiptsCost: what receipts cost Consul and the nodes, and whether they make
// a delivery wait. The same agents publish with receipts and without, by turns.
func BenchmarkReceiptsCost(b *testing.B) {
	const each = 2 // publishes of a turn, after one that warms up
	nodes, rounds := number(b, nodesEnv, 1200), number(b, roundsEnv, 20)
	server := consultest.Start(b)
	pub := newPublisher(b, server.Addr).counting()
	r := tools{}.beginReporting(b, server.Addr, nodes, pub)
	defer r.end()
	// CPU is counted for as long after each publish, with receipts or without: nodes
	// hold theirs back for up to 3 ms for each node.
	window := 3*time.Second + time.Duration(nodes)*4*time.Millisecond
	var with, without []reported
	for turn := 0; len(with) < rounds; turn++ {
		sides := []bool{true, false}
		if turn%2 == 1 {
			slices.Reverse(sides)
		}
		for _, on := range sides {
			r.report(on)
			r.publishReported(server, on, window)
			for range each {
				x := r.publishReported(server, on, window)
				if on {
					with = append(with, x)
				} else {
					without = append(without, x)
				}
			}
		}
	}
	reportCost(b, nodes, with, without)
}

// publishReported publishes, and waits until the window is over.
func (r *reporting) publishReported(server *consultest.Server, on bool, window time.Duration) reported {
	r.b.Helper()
	content := r.pub.content()
	r.seen.expect(content)
	store, procs := server.CPU(), r.fleet.cpu()
	sent := r.pub.publish(r.b, content)
	x := reported{}
	var took []float64
	for _, at := range r.wait() {
		took = append(took, ms(at.Sub(sent)))
	}
	slices.Sort(took)
	x.p50, x.last = quantile(took, 0.5), quantile(took, 1)
	if on {
		x.receipts = ms(r.receipts(content).Sub(sent))
		x.late = x.receipts > ms(window)
	}
	time.Sleep(time.Until(sent.Add(window)))
	x.consul, x.nodes = ms(server.CPU()-store), ms(r.fleet.cpu()-procs)
	return x
}

func reportCost(b *testing.B, nodes int, with, without []reported) {
	b.Helper()
	var a, f []reported // pairs
	late := 0
	for i := range with {
		if with[i].late {
			late++
			continue
		}
		a, f = append(a, with[i]), append(f, without[i])
	}
	table := newTable()
	fmt.Fprintf(table, "%d nodes, %d rounds, %d more were too late\twith: median\tquartiles\twithout: median\tquartiles\tdifference: median\tquartiles\t\n", nodes, len(a), late)
	for _, col := range []struct {
		name string
		of   func(reported) float64
	}{
		{"p50-ms", func(x reported) float64 { return x.p50 }},
		{"last-ms", func(x reported) float64 { return x.last }},
		{"receipts-ms", func(x reported) float64 { return x.receipts }},
		{"consul-cpu-ms", func(x reported) float64 { return x.consul }},
		{"nodes-cpu-ms", func(x reported) float64 { return x.nodes }},
	} {
		var x, y, d []float64
		for i := range a {
			x, y, d = append(x, col.of(a[i])), append(y, col.of(f[i])), append(d, col.of(a[i])-col.of(f[i]))
		}
		fmt.Fprintf(table, "%s\t%.0f\t%s\t%.0f\t%s\t%.0f\t%s\t\n", col.name, middle(x), quartiles(x), middle(y), quartiles(y), middle(d), quartiles(d))
		b.ReportMetric(middle(x), "with-"+col.name)
		b.ReportMetric(middle(d), "more-"+col.name)
	}
	table.print(b)
}

func quartiles(v []float64) string {
	v = slices.Sorted(slices.Values(v))
	return fmt.Sprintf("%.0f to %.0f", quantile(v, 0.25), quantile(v, 0.75))
}

// BenchmarkReceiptsRequests: requests and bytes of a change, with receipts and without,
// past a proxy.
func BenchmarkReceiptsRequests(b *testing.B) {
	const nodes, changes = 20, 5
	t := buildTools(b, ours)
	server := consultest.Start(b)
	pub := newPublisher(b, server.Addr).counting()
	table := newTable()
	fmt.Fprintf(table, "%d nodes, %d changes\trequests/change\tbytes/change\t\n", nodes, changes)
	for _, on := range []bool{false, true} {
		c := newCounter(b, server.Addr, 4*nodes)
		s, targets := newSite(b, c.addr, nodes)
		s.Receipts = on
		r := t.beginAt(b, ours, s, targets, pub)
		r.pause = 2 * time.Second // more than the time between two receipts
		r.change()
		before := c.count()
		for range changes {
			r.change()
		}
		per := c.count().since(before, changes*nodes)
		fmt.Fprintf(table, "receipts: %t\t%.2f\t%.0f\t\n", on, per.requests, per.bytes)
		b.ReportMetric(per.requests, map[bool]string{true: "with-requests", false: "without-requests"}[on])
		r.end()
		c.close()
	}
	table.print(b)
}
