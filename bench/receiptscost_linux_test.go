package bench

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"testing"
	"time"

	kvfleet "kvexpress/internal/fleet"
	"kvexpress/internal/testutil/consultest"
)

const (
	nodesEnv  = "KVEXPRESS_BENCH_NODES"  // how many nodes, or receipts, there are
	roundsEnv = "KVEXPRESS_BENCH_ROUNDS" // how many rounds of each side
)

// reported is the result of one publish.
type reported struct {
	p50, last     float64 // ms from the publish to a file in place
	consul, nodes float64 // ms of CPU
	late          bool    // receipts came after the time in which CPU is counted
}

// BenchmarkReceiptsCost: what receipts cost Consul and the nodes, and whether they make
// a delivery wait. The same agents publish with receipts and without, by turns.
func BenchmarkReceiptsCost(b *testing.B) {
	const each = 2 // publishes of a turn, after one that warms up
	nodes, rounds := number(b, nodesEnv, 1200), number(b, roundsEnv, 20)
	server := consultest.Start(b)
	pub := newPublisher(b, server.Addr)
	s, targets := newSite(b, server.Addr, nodes)
	s.Receipts = true
	r := &reporting{tools{}.beginAt(b, oursTogether, s, targets, pub), &kvfleet.Reader{Store: pub.Store, Layout: pub.Layout}}
	defer r.end()
	r.pause = 0
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
	store, procs := consulCPU(r.b, server), r.fleet.cpu()
	sent := r.pub.publish(r.b, content)
	x := reported{}
	var took []float64
	for _, at := range r.wait() {
		took = append(took, ms(at.Sub(sent)))
	}
	slices.Sort(took)
	x.p50, x.last = quantile(took, 0.5), quantile(took, 1)
	time.Sleep(time.Until(sent.Add(window)))
	x.consul, x.nodes = ms(consulCPU(r.b, server)-store), ms(r.fleet.cpu()-procs)
	x.late = on && r.reported(content) < r.site.Nodes
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
	fmt.Fprintf(table, "%d nodes, %d rounds, %d more were too late", nodes, len(a), late)
	fmt.Fprint(table, "\twith: median\tquartiles\twithout: median\tquartiles\tdifference: median\tquartiles\t\n")
	for _, col := range []struct {
		name string
		of   func(reported) float64
	}{
		{"p50-ms", func(x reported) float64 { return x.p50 }},
		{"last-ms", func(x reported) float64 { return x.last }},
		{"consul-cpu-ms", func(x reported) float64 { return x.consul }},
		{"nodes-cpu-ms", func(x reported) float64 { return x.nodes }},
	} {
		var x, y, d []float64
		for i := range a {
			x, y, d = append(x, col.of(a[i])), append(y, col.of(f[i])), append(d, col.of(a[i])-col.of(f[i]))
		}
		fmt.Fprint(table, col.name)
		for _, v := range [][]float64{x, y, d} {
			fmt.Fprintf(table, "\t%.0f\t%s", middle(v), quartiles(v))
		}
		fmt.Fprint(table, "\t\n")
		b.ReportMetric(middle(x), "with-"+col.name)
		b.ReportMetric(middle(d), "more-"+col.name)
	}
	table.print(b)
}

func quartiles(v []float64) string {
	v = slices.Sorted(slices.Values(v))
	return fmt.Sprintf("%.0f to %.0f", quantile(v, 0.25), quantile(v, 0.75))
}

// obey turns receipts on and off as the bench says, by signals.
func (c *child) obey(ctx context.Context) error {
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGUSR1, syscall.SIGUSR2)
	defer signal.Stop(told)
	for {
		select {
		case <-ctx.Done():
			return nil
		case s := <-told:
			for _, n := range c.ours {
				if err := n.report(s == syscall.SIGUSR2); err != nil {
					return err
				}
			}
		}
	}
}

// reporting is a fleet whose nodes report, in one process.
type reporting struct {
	*running
	reader *kvfleet.Reader
}

// reported is how many nodes have told that they have the content.
func (r *reporting) reported(content []byte) (n int) {
	r.b.Helper()
	roster, err := r.reader.Roster(r.b.Context(), 0, 0)
	if err != nil {
		r.b.Fatal(err)
	}
	hash := sha256.Sum256(content)
	for _, node := range roster.Nodes {
		if len(node.Receipt.Targets) == 1 && node.Receipt.Targets[0].SHA256 == hex.EncodeToString(hash[:]) {
			n++
		}
	}
	return n
}

// report turns receipts of all nodes on or off.
func (r *reporting) report(on bool) {
	r.b.Helper()
	s := syscall.SIGUSR1
	if on {
		s = syscall.SIGUSR2
	}
	if err := r.fleet.procs[0].cmd.Process.Signal(s); err != nil {
		r.b.Fatal(err)
	}
	time.Sleep(500 * time.Millisecond)
}
