package publish

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"kvexpress/internal/codec"
	"kvexpress/internal/kv"
)

// rivalHistory lets a rival overwrite the history entry between ours and our
// flip, and then die. It returns the history's manifest and the live one.
func rivalHistory(t *testing.T, before func(int, []kv.Op) ([]kv.Op, error)) (past, live kv.Manifest, res Result) {
	s := &probe{Store: newStore(), before: before}
	p, rival := publisher(t, s), publisher(t, s)
	do(t, p, "first\n")
	errDied := errors.New("died")
	rival.Step = func(st Step) error {
		if st == StepFlip {
			return errDied
		}
		return nil
	}
	once := sync.OnceFunc(func() {
		if _, err := rival.Publish(t.Context(), Request{Key: hosts, Content: noise(300<<10, 2)}); !errors.Is(err, errDied) {
			t.Errorf("rival: %v", err)
		}
	})
	p.Step = func(st Step) error {
		if st == StepFlip {
			once()
		}
		return nil
	}
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
	// One attempt lost the flip, the next left the rival time, the third replaced
	// the dead one's entry.
	if past.PublishID != live.PublishID || res.Attempts != 3 || res.Version != 2 {
		t.Errorf("history has %s, live is %s; %+v", past.PublishID, live.PublishID, res)
	}
}

func TestControlHistoryNeedsItsCheck(t *testing.T) {
	past, live, _ := rivalHistory(t, without(func(op kv.Op) bool {
		return op.Verb == kv.CheckIndex && strings.Contains(op.Path, "/.history/")
	}))
	if past.PublishID == live.PublishID {
		t.Error("history is right without its check: TestOverwrittenHistoryFailsTheFlip proves nothing")
	}
}

// A rival who puts his history entry there between our look and our own finds
// it left to him for an attempt.
func TestHistoryEntryIsLeftToARival(t *testing.T) {
	s := newStore()
	p, rival := publisher(t, s), publisher(t, s)
	do(t, p, "first\n")
	errDied := errors.New("died")
	rival.Step = func(st Step) error {
		if st == StepFlip {
			return errDied
		}
		return nil
	}
	before(p, StepHistoryWrite, func() {
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
	p.Store, rival.Store, p.Step = s, s, nil
	do(t, p, "first\n")
	if _, err := rival.Publish(t.Context(), Request{Key: hosts, Content: noise(300<<10, 2)}); !errors.Is(err, errDied) {
		t.Fatal(err)
	}
	res, err := p.Publish(t.Context(), Request{Key: hosts, Content: noise(300<<10, 1), IfVersion: &one})
	if err != nil || res.Version != 2 || res.Attempts != 2 {
		t.Errorf("--if-version: %+v, %v", res, err)
	}
}

// A slow rival flips just when his history entry is to be replaced: his is the
// version, and the entry stays his.
func TestHistoryOfASlowWinnerIsNotReplaced(t *testing.T) {
	s := newStore()
	p, rival := publisher(t, s), publisher(t, s)
	do(t, p, "first\n")
	atFlip, goOn, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	before(rival, StepFlip, func() { close(atFlip); <-goOn })
	go func() {
		res, err := rival.Publish(t.Context(), Request{Key: hosts, Content: noise(300<<10, 2)})
		if err == nil && (res.Version != 2 || res.Attempts != 1) {
			err = fmt.Errorf("rival: %+v", res)
		}
		done <- err
	}()
	<-atFlip
	before(p, StepHistoryWrite, func() {
		close(goOn)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	res, err := p.Publish(t.Context(), Request{Key: hosts, Content: noise(300<<10, 1)})
	if err != nil || res.Version != 3 {
		t.Fatalf("%+v, %v", res, err)
	}
	if m := pastVersions(t, s, p.Layout, hosts)[2]; m.SHA256 != codec.Checksum(noise(300<<10, 2)) {
		t.Errorf("history 2 is %+v, want the rival's", m)
	}
}

// A rival who flips between our read and our history entry must not find his
// history overwritten.
func TestHistoryOfAWinnerIsNotOverwritten(t *testing.T) {
	s := newStore()
	p, rival := publisher(t, s), publisher(t, s)
	do(t, p, "first\n")
	once := sync.OnceFunc(func() { do(t, rival, "rival\n") })
	p.Step = func(st Step) error {
		if st == StepHistoryWrite {
			once()
		}
		return nil
	}
	res, err := p.Publish(t.Context(), Request{Key: hosts, Content: noise(300<<10, 1)})
	if err != nil || res.Version != 3 {
		t.Fatalf("%+v, %v", res, err)
	}
	if m := pastVersions(t, s, p.Layout, hosts)[2]; m.SHA256 != codec.Checksum([]byte("rival\n")) {
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
	if res := do(t, p, "newer\n"); res.Version != 1 || res.Lineage == "x" {
		t.Errorf("after the last number: %+v, want a new lineage", res)
	}
}
