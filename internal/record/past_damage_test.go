package record_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"

	"kvexpress/internal/gate"
	"kvexpress/internal/kv"
	"kvexpress/internal/record"
)

// A list shows damage; a damaged version is not read.
func TestDamage(t *testing.T) {
	const bad = `{"format":1,`
	for name, c := range map[string]struct {
		damage func(b *bench, manifest, data string)
		state  record.State
		why    string
	}{
		"data that is other bytes": {func(b *bench, _, data string) { b.put(data, "junk", 0) }, record.Damaged, "data"},
		"data of another version": {func(b *bench, _, data string) {
			r := b.row(b.l.HistoryData(hosts, 1))
			b.put(data, string(r.Value), r.Flags)
		}, record.Damaged, "data"},
		"data that is no zstd": {func(b *bench, _, data string) { b.put(data, "junk", 2) }, record.Damaged, "data"},
		"data that is cut short": {func(b *bench, _, data string) {
			r := b.row(data)
			b.put(data, string(r.Value[:len(r.Value)-3]), r.Flags)
		}, record.Damaged, "it"},
		"a bomb":                     {func(b *bench, _, data string) { b.put(data, bomb(t), 1) }, record.Damaged, "16 MiB"},
		"flags of a later kvexpress": {func(b *bench, _, data string) { b.put(data, "x", 3) }, record.NeedsNewer, "KV flags 3"},
		"no data":                    {func(b *bench, _, data string) { b.remove(data) }, record.Damaged, "missing"},
		"no manifest":                {func(b *bench, manifest, _ string) { b.remove(manifest) }, record.Damaged, "missing"},
		"a manifest that is no JSON": {func(b *bench, manifest, _ string) { b.put(manifest, bad, 0) }, record.Damaged, "manifest"},
		"an empty manifest":          {func(b *bench, manifest, _ string) { b.put(manifest, "", 0) }, record.Damaged, "manifest"},
		"a manifest of another version": {func(b *bench, manifest, _ string) {
			b.rewrite(manifest, manifest, func(m *kv.Manifest) { m.Version = 1 })
		}, record.Damaged, "version 1"},
		"a manifest of another key": {func(b *bench, manifest, _ string) {
			b.rewrite(manifest, manifest, func(m *kv.Manifest) { m.Key = "other" })
		}, record.Damaged, `"other"`},
		"a manifest of a later kvexpress": {func(b *bench, manifest, _ string) {
			b.rewrite(manifest, manifest, func(m *kv.Manifest) { m.Requires = []string{"x"} })
		}, record.NeedsNewer, "newer"},
		"another lineage": {func(b *bench, manifest, _ string) {
			b.rewrite(manifest, manifest, func(m *kv.Manifest) { m.Lineage = "x" })
		}, record.OtherLineage, "another lineage"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.many(3)
			c.damage(b, b.l.HistoryManifest(hosts, 2), b.l.HistoryData(hosts, 2))
			l := b.tells("3 live", "2 "+string(c.state), "1")
			if len(l.Versions) > 1 && !contains(l.Versions[1].Why, c.why) {
				t.Errorf("it says %q, want %q", l.Versions[1].Why, c.why)
			}
			if got := l.Kept(); !slices.Equal(got, []uint64{3, 1}) {
				t.Errorf("kept are %v", got)
			}
			if c.state == record.OtherLineage {
				refuses[*record.NotKept](b, 2, "1, 3")
			} else {
				refuses[*gate.Refusal](b, 2, "1, 3")
			}
			b.reads(1, content(1))
			b.reads(0, content(3))
		})
	}
}

// bomb is small, and becomes more than record.MaxPlain bytes.
func bomb(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	w := brotli.NewWriterLevel(&b, brotli.BestSpeed)
	block := make([]byte, 1<<20)
	for range record.MaxPlain>>20 + 1 {
		if _, err := w.Write(block); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func as[T error](err error) bool {
	var target T
	return errors.As(err, &target)
}

// The live version has two places: either is enough.
func TestTheLiveVersionHasTwoPlaces(t *testing.T) {
	for name, damage := range map[string]func(b *bench){
		"gone": func(b *bench) { b.remove(b.l.HistoryManifest(hosts, 3), b.l.HistoryData(hosts, 3)) },
		"all history gone": func(b *bench) {
			for n := range uint64(3) {
				b.remove(b.l.HistoryManifest(hosts, n+1), b.l.HistoryData(hosts, n+1))
			}
		},
		"without data": func(b *bench) { b.remove(b.l.HistoryData(hosts, 3)) },
		"junk":         func(b *bench) { b.put(b.l.HistoryManifest(hosts, 3), "{", 0) },
		"other bytes": func(b *bench) {
			b.rewrite(b.l.HistoryManifest(hosts, 1), b.l.HistoryManifest(hosts, 3), func(m *kv.Manifest) { m.Version = 3 })
			b.put(b.l.HistoryData(hosts, 3), content(1), 0)
		},
	} {
		t.Run("its history is "+name, func(t *testing.T) {
			b := newBench(t)
			b.many(3)
			damage(b)
			l := b.list()
			if v := l.Versions[0]; v.Number != 3 || !v.Live || !v.State.Whole() || !contains(v.Why, "whole") {
				t.Errorf("version 3 is %+v", v)
			}
			b.reads(3, content(3))
		})
	}
	for name, damage := range map[string]func(b *bench){
		"its data is junk":       func(b *bench) { b.put(b.l.Data(hosts), "junk", 0) },
		"its data is gone":       func(b *bench) { b.remove(b.l.Data(hosts)) },
		"its checksum is gone":   func(b *bench) { b.remove(b.l.Checksum(hosts)) },
		"its checksum is junk":   func(b *bench) { b.put(b.l.Checksum(hosts), "junk", 0) },
		"its data cannot be had": func(b *bench) { b.put(b.l.Data(hosts), "junk", 2) },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.many(3)
			damage(b)
			l := b.tells("3 live", "2", "1")
			if v := l.Versions[0]; !contains(v.Why, "the live") {
				t.Errorf("version 3 is %+v", v)
			}
			b.reads(3, content(3))
			refuses[*gate.Refusal](b, 0, "the live")
		})
	}
	b := newBench(t)
	b.many(3)
	b.put(b.l.Data(hosts), "junk", 0)
	b.remove(b.l.HistoryData(hosts, 3))
	b.tells("3 live damaged", "2", "1")
	refuses[*gate.Refusal](b, 3, "1, 2")
	b.put(b.l.Manifest(hosts), "{", 0)
	b.tells("0 live damaged", "3 damaged", "2", "1")
	b.reads(2, content(2))
}

// A writer of 1.x puts data and checksum one after the other: the read waits for it.
func TestTornIsWaitedFor(t *testing.T) {
	b := newBench(t)
	b.many(3)
	b.put(b.l.Data(hosts), "theirs\n", 0)
	s := &between{Store: b.store}
	s.beforeRead = func(n int) {
		if n == 3 {
			b.put(b.l.Checksum(hosts), record.Checksum([]byte("theirs\n")), 0)
		}
	}
	all, err := b.on(s).Read(t.Context(), hosts, 0)
	if err != nil || string(all[0].Plain) != "theirs\n" || b.waits != 2 {
		t.Errorf("%v, %v, after %d waits", all, err, b.waits)
	}
}

// Only a later kvexpress knows which version is live.
func TestLiveNeedsNewer(t *testing.T) {
	b := newBench(t)
	b.many(3)
	b.rewrite(b.l.Manifest(hosts), b.l.Manifest(hosts), func(m *kv.Manifest) { m.Format = 2 })
	var refusal *gate.Refusal
	if _, err := b.reader().List(t.Context(), hosts); !errors.As(err, &refusal) || refusal.Reason != gate.NeedsNewer {
		t.Errorf("list: %v", err)
	}
	refuses[*gate.Refusal](b, 2, "newer")
}

func TestBefore(t *testing.T) {
	b := newBench(t)
	before := func(other bool) string {
		t.Helper()
		v, err := b.list().Before(other)
		switch {
		case err == nil:
			return fmt.Sprint(v.Number)
		case as[*record.NotKept](err):
			return "not kept: " + err.Error()
		case as[*gate.Refusal](err):
			return "refused: " + err.Error()
		}
		t.Fatal(err)
		return ""
	}
	want := func(other bool, words string) {
		t.Helper()
		got := before(other)
		fits := got == words
		if strings.Contains(words, " ") {
			fits = contains(got, words)
		}
		if !fits {
			t.Errorf("before(%t) is %q, want %q", other, got, words)
		}
	}
	b.write1x("theirs\n")
	want(false, "no version is kept")
	b.publish("a\n")
	want(false, "1")
	b.publish("b\n", "a\n") // 3, 4; 1 is from 1.x
	want(false, "3")
	want(true, "3")

	// Healed: version 5 has the same bytes as 4.
	b.put(b.l.Data(hosts), "junk", 0)
	b.publish("a\n")
	want(false, "4")
	want(true, "3")
	b.orphan(6)
	want(true, "3")

	// A damaged one is not passed over, those of another lineage are.
	past := b.l.HistoryManifest(hosts, 4)
	b.put(b.l.HistoryData(hosts, 3), "junk", 0)
	want(true, "3")
	keep := b.row(past)
	b.put(past, "{", 0)
	want(true, "4")
	b.put(past, string(keep.Value), 0)
	b.rewrite(past, past, func(m *kv.Manifest) { m.Lineage = "x" })
	want(false, "3")

	// kvexpress 1.x wrote last.
	b.write1x("theirs\n")
	want(false, "5")
	want(true, "5")
	b.write1x("a\n")
	want(true, "3")
}
