package record_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"kvexpress/internal/record"
	"kvexpress/internal/rollout"
)

// rollOut begins a rollout of each text over the one before it.
func (b *bench) rollOut(texts ...string) {
	b.t.Helper()
	p := rollout.Policy{Plan: rollout.Plan{Stages: []rollout.Stage{{Count: 1}}}}
	row, err := p.Marshal()
	if err != nil {
		b.t.Fatal(err)
	}
	b.put(b.l.Policy(hosts), string(row), 0)
	b.publish(texts...)
	b.remove(b.l.Policy(hosts))
}

// A candidate and a withdrawn version are listed as such, can be read when asked for, and are no versions to go back to.
func TestVersionsOfRollouts(t *testing.T) {
	b := newBench(t)
	b.many(2)
	b.rollOut("bad\n", "next\n")
	reason, err := json.Marshal(rollout.Withdrawn{Rollout: "x", Reason: "n1 failed: probe"})
	if err != nil {
		t.Fatal(err)
	}
	b.put(b.l.HistoryWithdrawn(hosts, 3), string(reason), 0)
	h := b.reader()
	list := func(want ...record.State) record.VersionList {
		t.Helper()
		l, err := h.List(t.Context(), hosts)
		var got []record.State
		for _, v := range l.Versions {
			got = append(got, v.State)
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("got %v, %v", got, err)
		}
		return l
	}
	l := list(record.Candidate, record.Withdrawn, record.Managed, record.Managed)
	if kept := l.Kept(); !slices.Equal(kept, []uint64{2, 1}) || !strings.Contains(l.Versions[1].Why, "n1 failed: probe") {
		t.Errorf("kept: %v; %+v", kept, l.Versions[1])
	}
	for n, want := range map[uint64]string{3: "in -k hosts -f FILE --retry", 4: "rollout status -k hosts"} {
		var never *record.NeverLive
		if _, err := h.Read(t.Context(), hosts, n); !errors.As(err, &never) || !strings.Contains(err.Error(), want) {
			t.Errorf("version %d: %v", n, err)
		}
		h.Any = true
		all, err := h.Read(t.Context(), hosts, n)
		if h.Any = false; err != nil || all[0].Number != n || len(all[0].Plain) == 0 {
			t.Errorf("version %d: %+v, %v", n, all, err)
		}
	}
	b.publish("now\n") // ends the rollout
	l = list(record.Managed, record.Withdrawn, record.Withdrawn, record.Managed, record.Managed)
	if before, err := l.Before(true); err != nil || before.Number != 2 {
		t.Errorf("the version before is %+v, %v", before, err)
	}
}
