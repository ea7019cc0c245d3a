package stores

import (
	"context"
	"errors"
	"testing"
	"time"

	"kvexpress/internal/kv"
)

// pulseParts are for stores that implement kv.Pulser.
func pulseParts() []part {
	return []part{{"Wakes", testPulseWakes}, {"Empty", testPulseEmpty}, {"Between", testPulseBetween}, {"Context", testPulseContext}}
}

// startPulse waits for a change of dir beside the test.
func (b bench) startPulse(dir string, since uint64) <-chan answer[kv.Beat] {
	return start(b, func() (kv.Beat, error) { return b.pulser.Pulse(b.t.Context(), dir, since, kv.MaxWait) })
}

// pulse asks and waits for the answer, which must come at once, or after wait if that is short.
func (b bench) pulse(dir string, since uint64, wait time.Duration) kv.Beat {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), patience)
	defer cancel()
	return b.beat(b.pulser.Pulse(ctx, dir, since, wait))
}

// beat checks what holds for every answer.
func (b bench) beat(beat kv.Beat, err error) kv.Beat {
	b.t.Helper()
	if err != nil || beat.Index == 0 {
		b.t.Fatalf("a pulse returned %+v and %v, want an index", beat, err)
	}
	return beat
}

// testPulseWakes: each change below the folder, at any depth, wakes a pulse, and no other change does.
func testPulseWakes(t *testing.T, b bench) {
	dir, deep := b.path("d/"), b.path("d/a/b/c/row")
	b.set(b.path("d/first"), "x")
	last := b.pulse(dir, 0, kv.MaxWait)
	for _, change := range []struct {
		name string
		make func()
	}{
		{"a row deep below is made", func() { b.set(deep, "1") }},
		{"it is changed", func() { b.set(deep, "2") }},
		{"it is deleted", func() { b.remove(deep) }},
		{"a row at the top is made", func() { b.set(b.path("d/row"), "1") }},
		{"a folder row is made", func() { b.set(b.path("d/folder/"), "") }},
	} {
		result := b.startPulse(dir, last.Index)
		for _, other := range []string{"d", "da", "d-other/a", "e/a"} {
			b.set(b.path(other), change.name)
		}
		blocked(b, result, "rows beside the folder changed")
		change.make()
		beat := b.beat(answered(b, result))
		if beat.Index <= last.Index || beat.Empty {
			t.Errorf("%s: the beat went from %+v to %+v", change.name, last, beat)
		}
		last = beat
	}
	result := b.startPulse(dir, last.Index)
	b.set(b.path("d/row"), "1")
	blocked(b, result, "identical bytes were written")
}

// testPulseEmpty: a folder without rows says so, and its first row wakes a pulse. (Other writes may wake it, too.)
func testPulseEmpty(t *testing.T, b bench) {
	dir := b.path("d/")
	b.set(b.path("other"), "x")
	beat := b.pulse(dir, 0, kv.MaxWait)
	if !beat.Empty {
		t.Errorf("a folder without rows has the beat %+v", beat)
	}
	index := b.set(b.path("d/row"), "x")
	for beat.Empty {
		beat = b.pulse(dir, beat.Index, kv.MaxWait)
	}
	if beat.Index != index {
		t.Errorf("the first row has index %d, and the beat is %+v", index, beat)
	}
	b.remove(b.path("d/row"))
	if last := b.pulse(dir, beat.Index, kv.MaxWait); !last.Empty || last.Index <= beat.Index {
		t.Errorf("after the last row was deleted, the beat went from %+v to %+v", beat, last)
	}
}

// testPulseBetween: a pulse that starts later sees changes that came before it, and one without a change runs out. As after a
// restore: with an index that the store has not reached, the beat comes as it is.
func testPulseBetween(t *testing.T, b bench) {
	dir := b.path("d/")
	before := b.set(b.path("d/row"), "1")
	after := b.set(b.path("d/row"), "2")
	if beat := b.pulse(dir, before, kv.MaxWait); beat.Index != after {
		t.Errorf("the row has index %d, the beat is %+v", after, beat)
	}
	for _, since := range []uint64{after, after + 1000000} {
		if beat := b.pulse(dir, since, short); beat.Index != after || beat.Empty {
			t.Errorf("a pulse since %d ran out with %+v, want index %d", since, beat, after)
		}
	}
}

func testPulseContext(t *testing.T, b bench) {
	index := b.set(b.path("d/row"), "x")
	ctx, cancel := context.WithCancel(t.Context())
	result := start(b, func() (kv.Beat, error) { return b.pulser.Pulse(ctx, b.path("d/"), index, kv.MaxWait) })
	blocked(b, result, "nothing happened")
	cancel()
	if _, err := answered(b, result); !errors.Is(err, context.Canceled) || !errors.Is(err, kv.ErrUnreachable) {
		t.Errorf("a cancelled pulse returned %v, want context.Canceled and ErrUnreachable", err)
	}
}
