package record_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/embedded"
	"kvexpress/internal/gate"
	"kvexpress/internal/kv"
	"kvexpress/internal/publish"
	"kvexpress/internal/record"
)

const hosts = kv.Key("hosts")

// bench is a store with its publisher and reader.
type bench struct {
	t     *testing.T
	store kv.Store
	l     kv.Layout
	waits int
}

func newBench(t *testing.T, options ...embedded.Option) *bench {
	t.Helper()
	l, err := kv.NewLayout("kvexpress")
	if err != nil {
		t.Fatal(err)
	}
	return &bench{t: t, store: embedded.New(options...), l: l}
}

// on is a reader of a store around the bench's own.
func (b *bench) on(s kv.Store) record.History {
	return record.History{Store: s, Layout: b.l, Wait: func(ctx context.Context, _ time.Duration) error {
		b.waits++
		return ctx.Err()
	}}
}

func (b *bench) reader() record.History { return b.on(b.store) }

// publish publishes each text as a version of its own.
func (b *bench) publish(texts ...string) {
	b.t.Helper()
	p := publish.Publisher{Store: b.store, Layout: b.l, By: "ann@build"}
	for _, text := range texts {
		if _, err := p.Publish(b.t.Context(),
			publish.Request{Key: hosts, Content: []byte(text), Message: "why " + strings.TrimSpace(text)}); err != nil {
			b.t.Fatal(err)
		}
	}
}

// many publishes versions 1 to n: "content 1", "content 2" …
func (b *bench) many(n int) {
	b.t.Helper()
	for i := range n {
		b.publish(content(uint64(i + 1)))
	}
}

func content(version uint64) string { return fmt.Sprintf("content %d\n", version) }

func (b *bench) put(path, value string, flags uint64) {
	b.t.Helper()
	if _, err := b.store.Commit(b.t.Context(), []kv.Op{{Verb: kv.Set, Path: path, Value: []byte(value), Flags: flags}}); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) remove(paths ...string) {
	b.t.Helper()
	for _, path := range paths {
		if _, err := b.store.Commit(b.t.Context(), []kv.Op{{Verb: kv.Delete, Path: path}}); err != nil {
			b.t.Fatal(err)
		}
	}
}

// removeLive deletes the key, and leaves its
func (b *bench) removeLive() {
	b.t.Helper()
	b.remove(b.l.Data(hosts), b.l.Checksum(hosts), b.l.Manifest(hosts))
}

func (b *bench) row(path string) kv.Entry {
	b.t.Helper()
	rows, err := b.store.Read(b.t.Context(), kv.Consistent, path)
	if err != nil {
		b.t.Fatal(err)
	}
	return rows[path]
}

// rewrite puts a manifest that differs from the one that is there.
func (b *bench) rewrite(from, to string, change func(*kv.Manifest)) {
	b.t.Helper()
	m, err := kv.ParseManifest(b.row(from).Value)
	if err != nil {
		b.t.Fatal(err)
	}
	change(&m)
	raw, err := m.Marshal()
	if err != nil {
		b.t.Fatal(err)
	}
	b.put(to, string(raw), 0)
}

// orphan writes the leftovers of a publisher that was killed before its promote.
func (b *bench) orphan(version uint64) {
	b.t.Helper()
	live := b.row(b.l.Data(hosts))
	b.rewrite(b.l.Manifest(hosts), b.l.HistoryManifest(hosts, version), func(m *kv.Manifest) { m.Version = version })
	b.put(b.l.HistoryData(hosts, version), string(live.Value), live.Flags)
	b.put(b.l.HistoryPending(hosts, version), "not live yet", 0)
}

func (b *bench) list() record.VersionList {
	b.t.Helper()
	l, err := b.reader().List(b.t.Context(), hosts)
	if err != nil {
		b.t.Fatal(err)
	}
	return l
}

// reads wants a version to have these bytes.
func (b *bench) reads(version uint64, want string) record.Content {
	b.t.Helper()
	all, err := b.reader().Read(b.t.Context(), hosts, version)
	if err != nil {
		b.t.Fatalf("version %d: %v", version, err)
	}
	if got := string(all[0].Plain); got != want {
		b.t.Errorf("version %d is %q, want %q", version, got, want)
	}
	return all[0]
}

// refuses wants a version not to be read, with an error of this kind that says so.
func refuses[T error](b *bench, version uint64, words string) T {
	b.t.Helper()
	all, err := b.reader().Read(b.t.Context(), hosts, version)
	var want T
	if !errors.As(err, &want) {
		b.t.Fatalf("version %d: %v, %v; want a %T", version, all, err, want)
	}
	if words != "" && !contains(err.Error(), words) {
		b.t.Errorf("version %d: %q does not say %q", version, err, words)
	}
	return want
}

// told is a list in short form: "3 live, 2 damaged, 1".
func told(l record.VersionList) []string {
	var all []string
	for _, v := range l.Versions {
		text := fmt.Sprint(v.Number)
		if v.State == record.Unmanaged {
			text = "unmanaged"
		}
		if v.Live {
			text += " live"
		}
		if !v.State.Whole() {
			text += " " + string(v.State)
		}
		all = append(all, text)
	}
	return all
}

func (b *bench) tells(want ...string) record.VersionList {
	b.t.Helper()
	l := b.list()
	if got := told(l); !slices.Equal(got, want) {
		b.t.Errorf("listed are %q, want %q", got, want)
	}
	return l
}

var (
	_ error = (*record.NotKept)(nil)
	_ error = (*gate.Refusal)(nil)
)

// between is a store in which something happens at a request.
type between struct {
	kv.Store
	afterKeys  func()
	beforeRead func(n int)
	reads      [][]string
}

func (s *between) Keys(ctx context.Context, prefix string) ([]string, error) {
	keys, err := s.Store.Keys(ctx, prefix)
	if s.afterKeys != nil {
		s.afterKeys()
	}
	return keys, err
}

func (s *between) Read(ctx context.Context, c kv.Consistency, paths ...string) (kv.Snapshot, error) {
	s.reads = append(s.reads, paths)
	if s.beforeRead != nil {
		s.beforeRead(len(s.reads))
	}
	return s.Store.Read(ctx, c, paths...)
}
