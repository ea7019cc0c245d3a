package agent

import (
	"bytes"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"testing"
	"time"

	"kvexpress/internal/config"
	"kvexpress/internal/embedded"
	"kvexpress/internal/fleet"
	"kvexpress/internal/kv"
	"kvexpress/internal/outcome"
)

// On a busy machine, a file is put in place after a receipt is due and before the status is read. The receipt has the right
// time of that. If the receipt took its time before it read the status, the file would seem to be placed when it was sent.
func TestReceiptOfAFilePlacedMeanwhile(t *testing.T) { // not parallel: it searches all stacks for a call
	layout, err := kv.NewLayout("kvexpress")
	if err != nil {
		t.Fatal(err)
	}
	store := &day{Store: embedded.New()}
	config := config.Config{Receipts: true, Node: "web-1", Layout: layout, Reconcile: time.Minute}
	r := &target{node: &node{}, status: TargetStatus{Outcome: outcome.Converged, Version: 1, SHA256: "one"}}
	a := &Agent{options: Options{Log: slog.New(slog.DiscardHandler)}, config: config, source: newTestSource(store),
		running: []*target{r}}
	done := make(chan struct{})
	r.mu.Lock()
	go func() {
		defer close(done)
		(&reporter{agent: a}).report(t.Context(), time.Minute)
	}()
	eventually(t, func() bool {
		stacks := make([]byte, 1<<20)
		return bytes.Contains(stacks[:runtime.Stack(stacks, true)], []byte("agent.(*Agent).receipts("))
	})
	since := time.Now()
	at := since.Add(time.Millisecond)
	r.status.Since, r.status.placed = &since, &placed{version: 1, sha256: "one", at: at}
	eventually(t, func() bool { return time.Since(at) > 200*time.Millisecond })
	r.mu.Unlock()
	<-done
	path := layout.Node("web-1")
	rows, err := store.Read(t.Context(), kv.Default, path)
	if err != nil {
		t.Fatal(err)
	}
	said, err := fleet.ParseReceipt("web-1", rows[path].Value, rows[path].Flags)
	if err != nil || len(said.Targets) != 1 || said.Targets[0].Placed == nil {
		t.Fatalf("%v, %+v", err, said)
	}
	told := said.Targets[0]
	for what, times := range map[string][2]time.Time{
		"in place": {at, said.Sent.Add(-time.Duration(told.Placed.Age))},
		"so":       {since, said.Sent.Add(-time.Duration(told.Since))},
	} {
		if off := times[1].Sub(times[0]); off.Abs() > 5*time.Millisecond { // each of the two is in whole milliseconds
			t.Errorf("it says that it was %s %v later than it was", what, off)
		}
	}
}

// The larger a fleet, the later and the more spread its receipts; never all at once,
// and never for ever.
func TestReceiptDelay(t *testing.T) {
	for _, c := range []struct {
		nodes       int
		least, most time.Duration
	}{
		{1, perNode, 2 * perNode},
		{10, 15 * time.Millisecond, 30 * time.Millisecond},
		{0, usualFleet * perNode, 2 * usualFleet * perNode},
		{1200, 1800 * time.Millisecond, 3600 * time.Millisecond},
		{10_000, 15 * time.Second, 30 * time.Second},
		{1_000_000, mostSpread / 2, mostSpread},
		{-5, usualFleet * perNode, 2 * usualFleet * perNode},
	} {
		var all []time.Duration
		for i := range 1000 {
			all = append(all, receiptDelay(fmt.Sprintf("web-%d", i), c.nodes))
		}
		slices.Sort(all)
		if all[0] < c.least || all[999] > c.most {
			t.Errorf("%d nodes wait from %v to %v, want %v to %v", c.nodes, all[0], all[999], c.least, c.most)
		}
		width := c.most - c.least
		for i := range 10 { // evenly: a tenth of them in each tenth
			from := c.least + width*time.Duration(i)/10
			n := 0
			for _, d := range all {
				if d >= from && d < from+width/10 {
					n++
				}
			}
			if n < 60 || n > 140 {
				t.Errorf("of %d nodes, %d of a thousand wait %v to %v", c.nodes, n, from, from+width/10)
			}
		}
	}
}

// The receipts of a large fleet come in some tens of moments, none before it is due,
// and those of a small one are hardly held back.
func TestReceiptsComeTogether(t *testing.T) {
	began := time.Now()
	for _, c := range []struct {
		nodes, most int
		slot        time.Duration
	}{{3, 3, time.Millisecond}, {100, 12, 20 * time.Millisecond}, {1200, 12, 240 * time.Millisecond},
		{10_000, 82, 250 * time.Millisecond}} {
		moments := map[int64]int{}
		for i := range c.nodes {
			due := began.Add(receiptDelay(fmt.Sprintf("web-%d", i), c.nodes))
			at := together(due, c.nodes)
			if late := at.Sub(due); late < 0 || late > c.slot {
				t.Fatalf("%d nodes: due at %v, written %v later, want at most %v", c.nodes, due, late, c.slot)
			}
			moments[at.UnixNano()]++
		}
		if len(moments) > c.most {
			t.Errorf("%d nodes report at %d moments, want at most %d", c.nodes, len(moments), c.most)
		}
	}
}
