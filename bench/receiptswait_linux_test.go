package bench

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"kvexpress/internal/consultest"
)

// Who waits for arrival.
const (
	nobodyWaits = "nobody"
	statusWaits = "status --wait"
	inWaits     = "in --wait"
)

// waited is what one publish came to that somebody waited for.
type waited struct {
	last, receipts, end float64 // ms from the publish to the last file, the last receipt, and the end of the process
	wall                float64 // ms from the start of the process to its end
	after               float64 // ms from the last receipt to the end of the process
	consul, cpu         float64 // ms of CPU from before the publish to the end
	resident            float64 // MiB of the process
}

// BenchmarkReceiptsWait: how soon `status --wait` and `in --wait` return when the last
// node has reported, and what it costs Consul that they wait. `status` begins just
// after the publish, as it waits for the version that stands.
func BenchmarkReceiptsWait(b *testing.B) {
	nodes, rounds := number(b, nodesEnv, 1200), number(b, roundsEnv, 11)
	t := buildTools(b, ours)
	server := consultest.Start(b)
	pub := newPublisher(b, server.Addr).counting()
	r := t.beginReporting(b, server.Addr, nodes, pub)
	defer r.end()
	order := []string{nobodyWaits, statusWaits, inWaits}
	found := map[string][]waited{}
	for round := range rounds + 1 {
		for _, who := range order {
			x := r.publishWaited(t, server, who)
			if round > 0 { // the first warms up
				found[who] = append(found[who], x)
			}
			time.Sleep(time.Second)
		}
		slices.Reverse(order)
	}
	table := newTable()
	fmt.Fprintf(table, "%d nodes, median of %d", nodes, rounds)
	columns := []struct {
		name string
		of   func(waited) float64
	}{
		{"last file ms", func(x waited) float64 { return x.last }},
		{"last receipt ms", func(x waited) float64 { return x.receipts }},
		{"end ms", func(x waited) float64 { return x.end }},
		{"start to end ms", func(x waited) float64 { return x.wall }},
		{"end after receipt ms", func(x waited) float64 { return x.after }},
		{"Consul CPU ms", func(x waited) float64 { return x.consul }},
		{"its CPU ms", func(x waited) float64 { return x.cpu }},
		{"resident MiB", func(x waited) float64 { return x.resident }},
	}
	for _, col := range columns {
		fmt.Fprintf(table, "\t%s", col.name)
	}
	fmt.Fprint(table, "\tslowest after ms\t\n")
	for _, who := range []string{nobodyWaits, statusWaits, inWaits} {
		fmt.Fprint(table, who)
		for _, col := range columns {
			var v []float64
			for _, x := range found[who] {
				v = append(v, col.of(x))
			}
			fmt.Fprintf(table, "\t%.1f", middle(v))
		}
		slowest := 0.0
		for _, x := range found[who] {
			slowest = max(slowest, x.after)
		}
		fmt.Fprintf(table, "\t%.1f\t\n", slowest)
	}
	table.print(b)
}

// publishWaited publishes, lets somebody wait for it, and comes back when all have
// reported.
func (r *reporting) publishWaited(t tools, server *consultest.Server, who string) waited {
	r.b.Helper()
	wait := []string{"-k", string(key), "--wait", "100%", "--timeout", landLimit.String(), "-s", r.site.Addr}
	content := r.pub.content()
	file := filepath.Join(r.site.Base, "content")
	write(r.b, file, content)
	r.seen.expect(content)
	store, sent := server.CPU(), time.Now()
	var s sample
	switch who {
	case inWaits:
		s = run(r.b, t.kvexpress, append([]string{"in", "-f", file}, wait...)...)
	case statusWaits:
		sent = r.pub.publish(r.b, content)
		s = launch(r.b, t.kvexpress, append([]string{"status"}, wait...)...)()
	default:
		sent = r.pub.publish(r.b, content)
	}
	cpu := server.CPU()
	landed := r.wait()
	receipts := r.receipts(content)
	if who == nobodyWaits {
		cpu = server.CPU()
	}
	x := waited{
		last: ms(slices.MaxFunc(landed, time.Time.Compare).Sub(sent)), receipts: ms(receipts.Sub(sent)), consul: ms(cpu - store),
	}
	if who != nobodyWaits {
		x.end, x.after = ms(s.end.Sub(sent)), ms(s.end.Sub(receipts))
		x.wall, x.cpu, x.resident = ms(s.wall), ms(s.cpu), float64(s.rss)/1024
	}
	return x
}
