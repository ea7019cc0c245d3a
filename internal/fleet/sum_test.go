package fleet_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/fleet"
	"kvexpress/internal/kv"
	"kvexpress/internal/record"
)

// inflated is a receipt of a few kilobytes that decodes to nearly 4 MB.
func inflated(t *testing.T, node string) []byte {
	t.Helper()
	target := `{"by":"out","key":"hosts","file":"/` + strings.Repeat("x", 940) + `%d","outcome":"converged"},`
	var b strings.Builder
	fmt.Fprintf(&b, `{"format":1,"node":%q,"sent":%q,"targets":[`, node, time.Now().UTC().Format(time.RFC3339))
	for i := range 4000 {
		fmt.Fprintf(&b, target, i)
	}
	packed, err := record.Pack([]byte(strings.TrimSuffix(b.String(), ",") + "]}"))
	if err != nil {
		t.Fatal(err)
	}
	return packed
}

// Receipts that decode to too many bytes are left out, alone, and named. No wait ends as if they
// had converged. When some of them go, others have room.
func TestReceiptsInSum(t *testing.T) {
	b := newBench(t)
	b.publish("one\n")
	const bad, good = 20, 100
	b.fleet(good, b.want)
	for i := range bad {
		node := fmt.Sprintf("bad-%02d", i)
		op := kv.Op{Verb: kv.Set, Path: "kvexpress-nodes/" + node, Value: inflated(t, node), Flags: record.Zstd.Flags()}
		if _, err := b.store.Store.Commit(t.Context(), []kv.Op{op}); err != nil {
			t.Fatal(err)
		}
	}
	reader := b.reader()
	examine := func() fleet.Report {
		t.Helper()
		r, err := reader.Roster(t.Context(), 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		all, err := reader.Live(t.Context(), r, "hosts")
		if err != nil {
			t.Fatal(err)
		}
		return fleet.Examine(r, all[0], fleet.Options{})
	}
	began, took := time.Now(), time.Duration(0)
	for n := range 2 { // the second one knows the first one's
		r := examine()
		took = max(took, time.Since(began))
		if r.Converged != good || len(r.Unread) > 0 || len(r.LeftOut) < bad-16 || r.Nodes-good+len(r.LeftOut) != bad ||
			!strings.HasPrefix(r.LeftOut[0], "bad-") {
			t.Errorf("read %d: %d of %d converged, left out %v", n, r.Converged, r.Nodes, r.LeftOut)
		}
	}
	_, err := reader.Wait(t.Context(), fleet.Goal{Key: "hosts", Share: 0.87, Timeout: 2 * took}) // of those read: 100 of 113
	var not *fleet.NotReached                                                                    // or the time ended in the middle of a read
	if err == nil || errors.As(err, &not) && !strings.Contains(err.Error(), "not read") {
		t.Errorf("the wait ends with %v", err)
	}
	for i := range 10 {
		op := kv.Op{Verb: kv.Delete, Path: fmt.Sprintf("kvexpress-nodes/bad-%02d", i)}
		if _, err := b.store.Store.Commit(t.Context(), []kv.Op{op}); err != nil {
			t.Fatal(err)
		}
	}
	if r := examine(); len(r.LeftOut) > 0 || r.Nodes != good+10 {
		t.Errorf("with room: %d nodes, left out %v", r.Nodes, r.LeftOut)
	}
}
