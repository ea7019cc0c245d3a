package fleet_test

import (
	"testing"
	"time"

	"kvexpress/internal/fleet"
	"kvexpress/internal/kv"
	"kvexpress/internal/store/local"
)

// What a writer says is as of the moment that it names: that it is called later, the look at
// what stands, however long it takes, and that somebody else wrote in between, make no
// delivery longer. Taken out: that what is new ages until it is sent; then the age is that
// of the moment.
func TestALookIsNoPartOfADelivery(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	now := start
	s := &faulty{Store: local.New()}
	s.read = func([]string) error { now = now.Add(time.Second); return nil }
	conflicts := 1
	s.commit = func([]kv.Op) error {
		if conflicts--; conflicts < 0 {
			return nil
		}
		return failed(kv.ErrConflict)
	}
	w := writer(t, s)
	w.Now = func() time.Time { return now }
	placed := func(by, file string) fleet.Target {
		said := target(by, file, 1)
		said.Since = fleet.Millis(time.Minute)
		said.Placed = &fleet.Placed{Age: fleet.Millis(5 * time.Millisecond)}
		return said
	}
	check := func(file string, sent, age time.Duration) {
		t.Helper()
		r := stands(t, s.Store)
		for _, told := range r.Targets {
			if told.File != file {
				continue
			}
			if got := r.Sent.Sub(start); got != sent || time.Duration(told.Placed.Age) != age || time.Duration(told.Since) != age+time.Minute-5*time.Millisecond {
				t.Errorf("%s: sent after %v, in place for %v, in its state for %v", file, got, time.Duration(told.Placed.Age), time.Duration(told.Since))
			}
			return
		}
		t.Errorf("nothing is told of %s: %+v", file, r)
	}
	out := placed(fleet.ByOut, "/out")
	if wrote, err := w.PutOut(t.Context(), now, out); !wrote || err != nil {
		t.Fatal(wrote, err)
	}
	check("/out", 2*time.Second, 2*time.Second+5*time.Millisecond) // it looked twice
	if out.Placed.Age != fleet.Millis(5*time.Millisecond) {
		t.Error("what the caller gave was changed")
	}
	if err := w.PutAgent(t.Context(), now, about(), []fleet.Target{placed(fleet.ByAgent, "/agent")}); err != nil {
		t.Fatal(err)
	}
	check("/agent", 2*time.Second, 5*time.Millisecond) // it knew what stands
	said := now
	now = now.Add(time.Second) // the machine is busy
	if err := w.PutAgent(t.Context(), said, about(), []fleet.Target{placed(fleet.ByAgent, "/agent")}); err != nil {
		t.Fatal(err)
	}
	check("/agent", 3*time.Second, time.Second+5*time.Millisecond)
}
