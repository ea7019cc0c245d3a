package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"kvexpress/internal/embedded"
	"kvexpress/internal/kv"
	"kvexpress/internal/publish"
	"kvexpress/internal/record"
)

// meddled is a store in which another user does something before the n-th read.
type meddled struct {
	kv.Store
	n, reads int
	meddle   func()
}

func (s *meddled) Read(ctx context.Context, c kv.Consistency, paths ...string) (kv.Snapshot, error) {
	if s.reads++; s.reads == s.n {
		s.meddle()
	}
	return s.Store.Read(ctx, c, paths...)
}

// The requests of a rollback without --to: the rollout, the list, the version, and the live version
// before it is published.
const (
	atList = iota + 2
	atVersion
	atPublish
)

// What others do while a rollback is at work is never undone unseen, nor is damaged
// or other content published: it is refused, and nothing is written.
func TestOthersBesideARollback(t *testing.T) {
	l, err := kv.NewLayout("kvexpress")
	if err != nil {
		t.Fatal(err)
	}
	past := func(v uint64) []string { return []string{l.HistoryManifest("hosts", v), l.HistoryData("hosts", v)} }
	for name, c := range map[string]struct {
		at     int
		meddle func(o others)
		to     string
		code   int
		says   string
		last   uint64 // the live version in the end

		ifVersion string
	}{
		"nothing":                      {0, nil, "", 0, "", 13, ""},
		"a publish before the list":    {atList, func(o others) { o.publish("rival\n") }, "", 0, "", 14, ""},
		"a publish before the version": {atVersion, func(o others) { o.publish("rival\n") }, "", 10, "version 12", 13, ""},
		"a publish before the publish": {atPublish, func(o others) { o.publish("rival\n") }, "", 10, "version 12", 13, ""},
		"the same, with --to":          {atPublish - 2, func(o others) { o.publish("rival\n") }, "5", 0, "", 14, ""},
		"kvexpress 1.x":                {atPublish, func(o others) { o.write1x("rival\n") }, "", 10, "version 12", 12, ""},
		// It holds for the version that was live when this one was chosen.
		"--if-version 13":               {atPublish, func(o others) { o.publish("rival\n") }, "", 10, "--if-version 13", 12, "13"},
		"pruned before the version":     {atVersion, func(o others) { o.remove(past(11)...) }, "", 5, "9, 10, 12", 12, ""},
		"pruned by publishes":           {atVersion, func(o others) { o.many(12) }, "", 5, "23, 24", 24, ""},
		"damaged before the version":    {atVersion, func(o others) { o.put(past(11)[1], "junk", 2) }, "", 6, "version 11", 12, ""},
		"its manifest is damaged":       {atVersion, func(o others) { o.put(past(11)[0], "{", 0) }, "", 6, "version 11", 12, ""},
		"replaced by another lineage's": {atVersion, func(o others) { o.foreign(past(11)[0]) }, "", 5, "lineage", 12, ""},
		"stopped before the publish":    {atPublish, func(o others) { o.put(l.Stop("hosts"), "why", 0) }, "", 3, "why", 12, ""},
		"the key is deleted": {atPublish,
			func(o others) { o.remove(l.Data("hosts"), l.Checksum("hosts"), l.Manifest("hosts")) }, "", 10, "version 12", 0, ""},
		"the key is deleted and made new": {atPublish, func(o others) {
			o.remove(l.Data("hosts"), l.Checksum("hosts"), l.Manifest("hosts"))
			o.publish("rival\n")
		}, "", 10, "version 12", 13, ""},
	} {
		t.Run(name, func(t *testing.T) {
			o := others{t: t, store: embedded.New(), l: l}
			o.many(12)
			s := &meddled{Store: o.store, n: c.at, meddle: func() { c.meddle(o) }}
			_, err := rollbackSession(s, l).rollback(t.Context(), rollbackFlags{publishFlags{ifVersion: c.ifVersion, wait: waitFlags{expiry: day}}, c.to})
			if code := exitCode(err); code != c.code || err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("exit %d: %v; want %d, %q", code, err, c.code, c.says)
			}
			if v := o.version(); v != c.last {
				t.Errorf("version %d is live, want %d", v, c.last)
			}
		})
	}
}

// A version of kvexpress 1.x has no number: its bytes are pinned.
func TestRollbackPinsWhat1xWrote(t *testing.T) {
	l, err := kv.NewLayout("kvexpress")
	if err != nil {
		t.Fatal(err)
	}
	o := others{t: t, store: embedded.New(), l: l}
	o.many(3)
	o.write1x("one\n")
	s := &meddled{Store: o.store, n: atPublish, meddle: func() { o.write1x("two\n") }}
	_, err = rollbackSession(s, l).rollback(t.Context(), rollbackFlags{publishFlags: publishFlags{wait: waitFlags{expiry: day}}})
	if code := exitCode(err); code != exitConflict || !strings.Contains(err.Error(), "no managed version") {
		t.Errorf("exit %d: %v", code, err)
	}
	if got := string(o.row(l.Data("hosts")).Value); got != "two\n" {
		t.Errorf("%q is live", got)
	}
}

func rollbackSession(store kv.Store, l kv.Layout) *session {
	app := &App{Stdout: &bytes.Buffer{}, Stderr: &bytes.Buffer{}, Getenv: quietEnv}
	return &session{App: app, g: &globals{execTimeout: defaultExecTimeout}, store: store, plain: store, layout: l, host: "test", k: "hosts",
		log: slog.New(slog.DiscardHandler)}
}

// others are other users of the same store.
type others struct {
	t     *testing.T
	store kv.Store
	l     kv.Layout
}

func (o others) publish(text string) {
	o.t.Helper()
	p := publish.Publisher{Store: o.store, Layout: o.l, By: "ann@build"}
	if _, err := p.Publish(o.t.Context(), publish.Request{Key: "hosts", Content: []byte(text)}); err != nil {
		o.t.Fatal(err)
	}
}

// many publishes n contents that differ from each other.
func (o others) many(n int) {
	o.t.Helper()
	for range n {
		o.publish(fmt.Sprintf("after version %d\n", o.version()))
	}
}

func (o others) put(path, value string, flags uint64) {
	o.t.Helper()
	if _, err := o.store.Commit(o.t.Context(), []kv.Op{{Verb: kv.Set, Path: path, Value: []byte(value), Flags: flags}}); err != nil {
		o.t.Fatal(err)
	}
}

func (o others) write1x(text string) {
	o.t.Helper()
	o.put(o.l.Data("hosts"), text, 0)
	o.put(o.l.Checksum("hosts"), record.Checksum([]byte(text)), 0)
}

func (o others) remove(paths ...string) {
	o.t.Helper()
	for _, path := range paths {
		if _, err := o.store.Commit(o.t.Context(), []kv.Op{{Verb: kv.Delete, Path: path}}); err != nil {
			o.t.Fatal(err)
		}
	}
}

// foreign makes a manifest one of another lineage.
func (o others) foreign(path string) {
	o.t.Helper()
	m, err := kv.ParseManifest(o.row(path).Value)
	if err != nil {
		o.t.Fatal(err)
	}
	m.Lineage = kv.NewID()
	raw, err := m.Marshal()
	if err != nil {
		o.t.Fatal(err)
	}
	o.put(path, string(raw), 0)
}

func (o others) row(path string) kv.Entry {
	o.t.Helper()
	rows, err := o.store.Read(o.t.Context(), kv.Consistent, path)
	if err != nil {
		o.t.Fatal(err)
	}
	return rows[path]
}

// version is the number in the live manifest, 0 without one.
func (o others) version() uint64 {
	o.t.Helper()
	m, err := kv.ParseManifest(o.row(o.l.Manifest("hosts")).Value)
	if err != nil && !errors.Is(err, kv.ErrManifestCorrupt) {
		o.t.Fatal(err)
	}
	return m.Version
}
