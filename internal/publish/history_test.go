package publish

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"kvexpress/internal/kv"
	"kvexpress/internal/record"
)

// rivalHistory lets a rival overwrite the history entry between ours and our
// promote, and then die. It returns the history's manifest and the live one.
func rivalHistory(t *testing.T, control func(int, []kv.Op) ([]kv.Op, error)) (past, live kv.Manifest, res Result) {
	s := &probe{Store: newStore(), before: control}
	p, rival := publisher(t, s), publisher(t, s)
	do(t, p, "first\n")
	dieAt(rival, AtPromote)
	before(p, AtPromote, func() {
		if _, err := rival.Publish(t.Context(), Request{Key: hosts, Content: noise(300<<10, 2)}); !errors.Is(err, errDied) {
			t.Errorf("rival: %v", err)
		}
	})
	res, err := p.Publish(t.Context(), Request{Key: hosts, Content: noise(300<<10, 1)})
	if err != nil {
		t.Fatal(err)
	}
	live, err = kv.ParseManifest(get1(t, s, p.Layout.Manifest(hosts)).Value)
	if err != nil {
		t.Fatal(err)
	}
	return pastVersions(t, s, p.Layout, hosts)[res.Version], live, res
}

func TestOverwrittenHistoryFailsTheFlip(t *testing.T) {
	past, live, res := rivalHistory(t, nil)
	// One attempt lost the promote, the next left the rival time, the third replaced
	// the dead one's entry.
	if past.PublishID != live.PublishID || res.Attempts != 3 || res.Version != 2 {
		t.Errorf("history has %s, live is %s; %+v", past.PublishID, live.PublishID, res)
	}
}

func TestControlHistoryNeedsItsCheck(t *testing.T) {
	past, live, _ := rivalHistory(t, without(func(op kv.Op) bool {
		return op.Verb == kv.CheckAndSet && strings.HasSuffix(op.Path, "/pending")
	}))
	if past.PublishID == live.PublishID {
		t.Error("history is right without its check: TestOverwrittenHistoryFailsTheFlip proves nothing")
	}
}

// If a rival writes a history entry between our read and our own write, we leave
// it to the rival for one attempt.
func TestHistoryEntryIsLeftToARival(t *testing.T) {
	s := newStore()
	p, rival := publisher(t, s), publisher(t, s)
	do(t, p, "first\n")
	dieAt(rival, AtPromote)
	before(p, AtHistoryWrite, func() {
		if _, err := rival.Publish(t.Context(), Request{Key: hosts, Content: noise(300<<10, 2)}); !errors.Is(err, errDied) {
			t.Errorf("rival: %v", err)
		}
	})
	// One attempt lost to him, one left to him, one that replaced his entry.
	one := uint64(1)
	for _, req := range []Request{
		{Key: hosts, Content: noise(300<<10, 1), DryRun: true},
		{Key: hosts, Content: noise(300<<10, 1)},
	} {
		res, err := p.Publish(t.Context(), req)
		if err != nil || res.Version != 2 || !req.DryRun && res.Attempts != 3 {
			t.Errorf("%+v, %v", res, err)
		}
	}
	// A dead one's entry is no lost race for --if-version either.
	s = newStore()
	p.Store, rival.Store, p.Fault = s, s, nil
	do(t, p, "first\n")
	if _, err := rival.Publish(t.Context(), Request{Key: hosts, Content: noise(300<<10, 2)}); !errors.Is(err, errDied) {
		t.Fatal(err)
	}
	res, err := p.Publish(t.Context(), Request{Key: hosts, Content: noise(300<<10, 1), IfVersion: &one})
	if err != nil || res.Version != 2 || res.Attempts != 2 {
		t.Errorf("--if-version: %+v, %v", res, err)
	}
}

// A slow rival promotes just before we replace its history entry: the rival's version
// is live, and the entry stays.
func TestHistoryOfASlowWinnerIsNotReplaced(t *testing.T) {
	s := newStore()
	p, rival := publisher(t, s), publisher(t, s)
	do(t, p, "first\n")
	atFlip, goOn, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	before(rival, AtPromote, func() { close(atFlip); <-goOn })
	go func() {
		res, err := rival.Publish(t.Context(), Request{Key: hosts, Content: noise(300<<10, 2)})
		if err == nil && (res.Version != 2 || res.Attempts != 1) {
			err = fmt.Errorf("rival: %+v", res)
		}
		done <- err
	}()
	<-atFlip
	before(p, AtHistoryWrite, func() {
		close(goOn)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	res, err := p.Publish(t.Context(), Request{Key: hosts, Content: noise(300<<10, 1)})
	if err != nil || res.Version != 3 {
		t.Fatalf("%+v, %v", res, err)
	}
	if m := pastVersions(t, s, p.Layout, hosts)[2]; m.SHA256 != record.Checksum(noise(300<<10, 2)) {
		t.Errorf("history 2 is %+v, want the rival's", m)
	}
}

// If a rival promotes between our read and our history entry, we must not overwrite its
// history.
func TestHistoryOfAWinnerIsNotOverwritten(t *testing.T) {
	s := newStore()
	p, rival := publisher(t, s), publisher(t, s)
	do(t, p, "first\n")
	before(p, AtHistoryWrite, func() { do(t, rival, "rival\n") })
	res, err := p.Publish(t.Context(), Request{Key: hosts, Content: noise(300<<10, 1)})
	if err != nil || res.Version != 3 {
		t.Fatalf("%+v, %v", res, err)
	}
	if m := pastVersions(t, s, p.Layout, hosts)[2]; m.SHA256 != record.Checksum([]byte("rival\n")) {
		t.Errorf("history 2 is %+v, want the rival's", m)
	}
}

func TestHistoryKeepsTheNewestTen(t *testing.T) {
	s := newStore()
	p := publisher(t, s)
	for i := range 25 {
		do(t, p, fmt.Sprintf("%d\n", i+1))
		want := min(i+1, 10)
		got := slices.Sorted(maps.Keys(pastVersions(t, s, p.Layout, hosts)))
		if len(got) != want || got[len(got)-1] != uint64(i+1) {
			t.Fatalf("after version %d: %v", i+1, got)
		}
	}
	paths, err := s.Keys(t.Context(), p.Layout.HistoryDir(hosts))
	if err != nil || len(paths) != 20 {
		t.Errorf("%d rows, want 10 manifests and 10 data: %v", len(paths), err)
	}
}

func TestDeletedKeyGoesOnFromHistory(t *testing.T) {
	s := newStore()
	p := publisher(t, s)
	var last Result
	for i := range 3 {
		last = do(t, p, fmt.Sprintf("%d\n", i))
	}
	l := p.Layout
	remove(t, s, l.Data(hosts), l.Checksum(hosts), l.Manifest(hosts))
	put(t, s, l.HistoryManifest(hosts, 3), "damaged", 0)
	if res := do(t, p, "new\n"); res.Version != 4 || res.Lineage != last.Lineage || res.Previous != 0 {
		t.Errorf("got %+v, want version 4 of %s", res, last.Lineage)
	}
	remove(t, s, l.Data(hosts), l.Checksum(hosts), l.Manifest(hosts))
	for v := range uint64(5) {
		remove(t, s, l.HistoryManifest(hosts, v), l.HistoryData(hosts, v))
	}
	if res := do(t, p, "new\n"); res.Version != 1 || res.Lineage == last.Lineage {
		t.Errorf("without history: %+v, want a new lineage", res)
	}
	put(t, s, l.Manifest(hosts),
		`{"format":1,"lineage":"x","version":18446744073709551615,"key":"hosts","sha256":"`+strings.Repeat("0", 64)+`"}`, 0)
	if res := do(t, p, "newer\n"); res.Version != 2 || res.Lineage == "x" {
		t.Errorf("after the last number: %+v, want a new lineage", res)
	}
}

// saved are the live rows, as in a backup of the key without history.
func saved(t *testing.T, s kv.Store, l kv.Layout) (ops []kv.Op) {
	t.Helper()
	for _, path := range []string{l.Data(hosts), l.Checksum(hosts), l.Manifest(hosts)} {
		row := get1(t, s, path)
		ops = append(ops, kv.Op{Verb: kv.Set, Path: path, Value: row.Value, Flags: row.Flags})
	}
	return ops
}

// After live rows were restored, the next number is above all that history has, and the
// manifest names the version that it replaces.
func TestNumbersAfterARestore(t *testing.T) {
	l := layout(t, "kvexpress")
	entry := func(version uint64, lineage string) func(*testing.T, kv.Store) {
		return func(t *testing.T, s kv.Store) {
			m := fmt.Sprintf(`{"format":1,"lineage":%q,"version":%d,"key":"hosts","sha256":"%064d"}`, lineage, version, 0)
			put(t, s, l.HistoryManifest(hosts, version), m, 0)
			put(t, s, l.HistoryData(hosts, version), "x", 0)
		}
	}
	for name, tt := range map[string]struct {
		published int // when the backup is taken, after 3
		harm      func(*testing.T, kv.Store)
		version   uint64
		previous  uint64
		kept      []uint64
	}{
		"two newer": {5, nil, 6, 3, []uint64{1, 2, 3, 4, 5, 6}},
		// Version 3 has left the history: it comes back with its number, as an eleventh.
		"newer than history": {30, nil, 31, 3, []uint64{3, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31}},
		"oldest of history":  {12, nil, 13, 3, []uint64{3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13}},
		"another lineage":    {3, entry(7, "other"), 8, 3, []uint64{1, 2, 3, 7, 8}},
		"a manifest that cannot be read": {3, func(t *testing.T, s kv.Store) { put(t, s, l.HistoryManifest(hosts, 5), "{", 0) },
			6, 3, []uint64{1, 2, 3, 5, 6}},
		"a number that is never reached": {3, func(t *testing.T, s kv.Store) { put(t, s, l.HistoryManifest(hosts, 1<<63), "{", 0) },
			4, 3, []uint64{1, 2, 3, 4}},
		"1.x wrote after that": {5, func(t *testing.T, s kv.Store) { oldWrite(t, s, l, hosts, "theirs\n") },
			7, 6, []uint64{1, 2, 3, 4, 5, 6, 7}},
		"never live": {3, func(t *testing.T, s kv.Store) {
			entry(4, "x")(t, s)
			put(t, s, l.HistoryPending(hosts, 4), "id", 0)
		}, 4, 3, []uint64{1, 2, 3, 4}},
		"below many that were never live": {5, func(t *testing.T, s kv.Store) {
			for v := range uint64(40) {
				put(t, s, l.HistoryPending(hosts, 20+v), "id", 0)
			}
		}, 6, 3, []uint64{1, 2, 3, 4, 5, 6}},
	} {
		for form, content := range map[string][]byte{"small": []byte("new\n"), "large": noise(kv.MaxStored, 1)} {
			t.Run(name+", "+form, func(t *testing.T) {
				s := newStore()
				p := publisher(t, s)
				var backup []kv.Op
				for i := range tt.published {
					do(t, p, fmt.Sprintf("%d\n", i+1))
					if i == 2 {
						backup = saved(t, s, l)
					}
				}
				if _, err := s.Commit(t.Context(), backup); err != nil {
					t.Fatal(err)
				}
				if tt.harm != nil {
					tt.harm(t, s)
				}
				res, err := p.Publish(t.Context(), Request{Key: hosts, Content: content})
				if err != nil || res.Version != tt.version {
					t.Fatalf("got %+v, %v", res, err)
				}
				mustBeLive(t, s, l, hosts, res, content)
				if m, err := kv.ParseManifest(get1(t, s, l.Manifest(hosts)).Value); err != nil || m.Previous != tt.previous {
					t.Errorf("it replaces version %d, %v; want %d", m.Previous, err, tt.previous)
				}
				var kept []uint64
				for _, path := range keysOf(t, s, l.HistoryDir(hosts)) {
					if v, row, ok := l.HistoryVersion(hosts, path); ok && row == "manifest" {
						kept = append(kept, v)
					}
				}
				if slices.Sort(kept); !slices.Equal(kept, tt.kept) {
					t.Errorf("history has %v, want %v", kept, tt.kept)
				}
			})
		}
	}
}

func keysOf(t *testing.T, s kv.Store, prefix string) []string {
	t.Helper()
	paths, err := s.Keys(t.Context(), prefix)
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// Content of 1.x in any form becomes a version, also if it does not fit into one
// transaction with ours, and only once if the publisher dies in between.
func TestUnmanagedBytesBecomeAVersion(t *testing.T) {
	l := layout(t, "kvexpress")
	zipped := func(plain []byte) string {
		z, err := record.Encode(record.Brotli, plain)
		if err != nil {
			t.Fatal(err)
		}
		return string(z)
	}
	text := []byte(strings.Repeat("a line of 1.x\n", 5000))
	for name, tt := range map[string]struct {
		plain  []byte
		stored string
		flags  uint64
		die    Point
		kept   bool
	}{
		"plain":                   {text, string(text), 0, "", true},
		"brotli":                  {text, zipped(text), 1, "", true},
		"large":                   {noise(kv.MaxStored, 3), string(noise(kv.MaxStored, 3)), 0, "", true},
		"large, died before ours": {noise(kv.MaxStored, 3), string(noise(kv.MaxStored, 3)), 0, AtHistoryCheck, true},
		"larger than ours can be": {noise(500<<10, 3), string(noise(500<<10, 3)), 0, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore()
			p := publisher(t, s)
			if err := s.Put(t.Context(), l.Data(hosts), []byte(tt.stored), tt.flags); err != nil {
				t.Fatal(err)
			}
			put(t, s, l.Checksum(hosts), record.Checksum(tt.plain), 0)
			ours := noise(kv.MaxStored, 4)
			if tt.die != "" {
				dead := publisher(t, s)
				dieAt(dead, tt.die)
				if _, err := dead.Publish(t.Context(), Request{Key: hosts, Content: ours}); !errors.Is(err, errDied) {
					t.Fatal(err)
				}
			}
			res, err := p.Publish(t.Context(), Request{Key: hosts, Content: ours})
			if err != nil || res.Version != 2 {
				t.Fatalf("got %+v, %v", res, err)
			}
			mustBeLive(t, s, l, hosts, res, ours)
			m, there := pastVersions(t, s, l, hosts)[1]
			if there != tt.kept || hasNote(res, "too large") == tt.kept {
				t.Fatalf("kept: %t; %q", there, res.Notes)
			}
			if !tt.kept {
				return
			}
			row := get1(t, s, l.HistoryData(hosts, 1))
			e, err := record.FromFlags(row.Flags)
			if err != nil {
				t.Fatal(err)
			}
			plain, err := record.Decode(e, row.Value)
			if err != nil || record.Checksum(plain) != m.SHA256 || m.SHA256 != record.Checksum(tt.plain) || m.Lineage != res.Lineage ||
				tt.flags == 1 && m.Encoding != "brotli" {
				t.Errorf("history has %+v, %v", m, err)
			}
		})
	}
}
