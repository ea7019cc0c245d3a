package agent

import (
	"bytes"
	"fmt"
	"log/slog"
	"runtime"
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

// A fleet reports a change in the last two thirds of 3 s: evenly, at few moments, and not while nodes install it.
func TestReceiptsAreSpread(t *testing.T) {
	r, began, moments := &reporter{agent: &Agent{}}, time.Now(), map[time.Duration]int{}
	for i := range 1000 {
		moments[r.soon(fmt.Sprintf("web-%d", i), began).Sub(began)]++
	}
	if len(moments) > 9 {
		t.Errorf("%d moments: %v", len(moments), moments)
	}
	for after, n := range moments {
		if after < receiptSpread/3 || after > receiptSpread+receiptSpread/12 || n > 200 {
			t.Errorf("%d of 1,000 nodes report %v after a change", n, after)
		}
	}
}
