package publish

import (
	"errors"
	"strings"
	"testing"

	"kvexpress/internal/kv"
)

func TestIfVersion(t *testing.T) {
	s := newStore()
	p := publisher(t, s)
	try := func(version uint64, text string) (Result, error) {
		return p.Publish(t.Context(), Request{Key: hosts, Content: []byte(text), IfVersion: &version})
	}
	refused := func(version uint64, text, part string) {
		t.Helper()
		_, err := try(version, text)
		var c *Conflict
		if !errors.As(err, &c) || !errors.Is(err, kv.ErrConflict) || !strings.Contains(err.Error(), part) {
			t.Errorf("--if-version %d: %v, want %q", version, err, part)
		}
	}
	refused(1, "a\n", "no managed version is live")
	if res, err := try(0, "a\n"); err != nil || res.Version != 1 {
		t.Fatalf("0 on an absent key: %+v, %v", res, err)
	}
	refused(0, "b\n", "version 1 is live")
	refused(2, "a\n", "version 1 is live") // although the bytes are the same
	if res, err := try(1, "b\n"); err != nil || res.Version != 2 {
		t.Fatalf("1 on version 1: %+v, %v", res, err)
	}
	oldWrite(t, s, p.Layout, hosts, "by 1.x\n")
	refused(2, "c\n", "no managed version is live")
	if res, err := try(0, "c\n"); err != nil || res.Version != 4 || res.Previous != 0 {
		t.Fatalf("0 on an unmanaged key: %+v, %v", res, err)
	}
	put(t, s, p.Layout.Manifest(hosts), "{", 0)
	refused(4, "d\n", "manifest")
	refused(0, "d\n", "manifest")
}

func TestIfVersionLosesWithoutRetry(t *testing.T) {
	s := newStore()
	p, rival := publisher(t, s), publisher(t, s)
	do(t, p, "a\n")
	promotes := 0
	p.Fault = func(st Point) error {
		if st == AtPromote {
			promotes++
			do(t, rival, "rival\n")
		}
		return nil
	}
	one := uint64(1)
	_, err := p.Publish(t.Context(), Request{Key: hosts, Content: []byte("b\n"), IfVersion: &one})
	var c *Conflict
	if !errors.As(err, &c) || c.Current == nil || *c.Current != 2 || promotes != 1 {
		t.Errorf("got %v after %d promotes", err, promotes)
	}
}

// 1.x writes no versions: a live version of 0 does not prove that nothing changed.
func TestIfVersionLosesTo1x(t *testing.T) {
	s := newStore()
	p := publisher(t, s)
	oldWrite(t, s, p.Layout, hosts, "one\n")
	before(p, AtPromote, func() { oldWrite(t, s, p.Layout, hosts, "two\n") })
	zero := uint64(0)
	_, err := p.Publish(t.Context(), Request{Key: hosts, Content: []byte("mine\n"), IfVersion: &zero})
	var c *Conflict
	if !errors.As(err, &c) || string(get1(t, s, p.Layout.Data(hosts)).Value) != "two\n" {
		t.Errorf("got %v", err)
	}
}
