package publish

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"kvexpress/internal/embedded"
	"kvexpress/internal/gate"
	"kvexpress/internal/kv"
	"kvexpress/internal/record"
	"kvexpress/internal/rollout"
)

// machine does random things to one key, by us, by 1.x and by accident.
type machine struct {
	t       *testing.T
	store   *embedded.Store
	p       *Publisher
	stopped bool
	newest  map[string]uint64 // version by lineage
	backup  []kv.Op           // the live rows of an earlier moment
}

func contents() *rapid.Generator[[]byte] {
	return rapid.Custom(func(t *rapid.T) []byte {
		if rapid.IntRange(0, 19).Draw(t, "large") == 0 {
			return noise(300<<10, uint64(rapid.IntRange(0, 2).Draw(t, "seed")))
		}
		return []byte(rapid.SampledFrom([]string{"a\n", "b\n", "c\n", "d"}).Draw(t, "text"))
	})
}

func (m *machine) publish(t *rapid.T) {
	req := Request{
		Key: hosts, Content: contents().Draw(t, "content"), IgnoreStop: rapid.Bool().Draw(t, "ignore stop"),
		Encoding: rapid.SampledFrom([]record.Encoding{"", "", "", record.Plain, record.Zstd, record.Brotli}).Draw(t, "encoding"),
	}
	if len(req.Content) > 10 && req.Encoding == record.Brotli {
		req.Encoding = record.Zstd // brotli takes its time on noise
	}
	res, err := m.p.Publish(m.t.Context(), req)
	var stopped *gate.Stopped
	if errors.As(err, &stopped) && m.stopped && !req.IgnoreStop {
		return
	}
	if err != nil {
		t.Fatalf("publish: %v", err)
	}
	if m.stopped && !req.IgnoreStop {
		t.Fatalf("published under a stop: %+v", res)
	}
	if res.Action == Unchanged {
		l := m.p.Layout
		s, err := record.Verify(hosts, get1(m.t, m.store, l.Data(hosts)), get1(m.t, m.store, l.Checksum(hosts)),
			get1(m.t, m.store, l.Manifest(hosts)))
		if err != nil || s.State == record.Damaged || !bytes.Equal(s.Plain, req.Content) {
			t.Fatalf("unchanged, but the live version is %+v, %v", s, err)
		}
		return
	}
	if err := checkLive(m.t.Context(), m.store, m.p.Layout, hosts, res, req.Content); err != nil {
		t.Fatal(err)
	}
	if res.Version != 1 && res.Version <= m.newest[res.Lineage] || res.Version == 1 && m.newest[res.Lineage] != 0 {
		t.Fatalf("version %d of %s after %d", res.Version, res.Lineage, m.newest[res.Lineage])
	}
	m.newest[res.Lineage] = res.Version
	versions := map[uint64]bool{}
	for _, path := range m.history() {
		v, _, _ := m.p.Layout.HistoryVersion(hosts, path)
		versions[v] = true
	}
	if len(versions) > rollout.MinVersions+2 { // a restored one, and what a dead publisher left, stay for a while
		t.Fatalf("%d versions in history", len(versions))
	}
}

func (m *machine) history() []string {
	paths, err := m.store.Keys(m.t.Context(), m.p.Layout.HistoryDir(hosts))
	if err != nil {
		m.t.Fatal(err)
	}
	return paths
}

func (m *machine) rows() []string {
	l := m.p.Layout
	return []string{l.Data(hosts), l.Checksum(hosts), l.Manifest(hosts)}
}

// write1x is kvexpress 1.16, or 1.14 with -z; it may die between its writes.
func (m *machine) write1x(t *rapid.T) {
	plain := contents().Draw(t, "content")
	stored, l := string(plain), m.p.Layout
	if rapid.Bool().Draw(t, "gzip") {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, werr := z.Write(plain)
		if err := errors.Join(werr, z.Close()); err != nil {
			t.Fatal(err)
		}
		stored = base64.StdEncoding.EncodeToString(b.Bytes())
	}
	if len(stored) > kv.MaxStored {
		return
	}
	put(m.t, m.store, l.Data(hosts), stored, 0)
	if rapid.IntRange(0, 4).Draw(t, "dies") > 0 {
		put(m.t, m.store, l.Checksum(hosts), record.Checksum(plain), 0)
	}
}

func (m *machine) removeRows(t *rapid.T) {
	for _, path := range rapid.SliceOfNDistinct(rapid.SampledFrom(m.rows()), 1, 3, rapid.ID).Draw(t, "rows") {
		remove(m.t, m.store, path)
	}
}

func (m *machine) damageRow(t *rapid.T) {
	rows := m.rows()
	for _, path := range m.history() {
		if !strings.HasSuffix(path, "/pending") { // without its mark, a number would be used again
			rows = append(rows, path)
		}
	}
	path := rapid.SampledFrom(rows).Draw(t, "row")
	row := get1(m.t, m.store, path)
	value := bytes.Clone(row.Value)
	switch {
	case len(value) > 0 && rapid.Bool().Draw(t, "promote a byte"):
		// A damaged manifest may be another valid manifest, with any
		// numbers.
		if bytes.HasPrefix(value, []byte("{")) {
			value[0] ^= 1
		} else {
			value[rapid.IntRange(0, len(value)-1).Draw(t, "at")] ^= 0x20
		}
	default:
		value = rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "value")
	}
	put(m.t, m.store, path, string(value), uint64(rapid.IntRange(0, 2).Draw(t, "flags")))
}

func (m *machine) save(*rapid.T) {
	m.backup = nil
	for _, path := range m.rows() {
		if row := get1(m.t, m.store, path); row.State == kv.Present {
			m.backup = append(m.backup, kv.Op{Verb: kv.Set, Path: path, Value: row.Value, Flags: row.Flags})
		}
	}
}

// restore puts back the live rows alone, as `kv import` of an older export does.
func (m *machine) restore(t *rapid.T) {
	if _, err := m.store.Commit(m.t.Context(), m.backup); err != nil && len(m.backup) > 0 {
		t.Fatal(err)
	}
}

func (m *machine) stop(t *rapid.T) {
	m.stopped = rapid.Bool().Draw(t, "stop")
	reason := ""
	if m.stopped {
		reason = "hold"
	}
	put(m.t, m.store, m.p.Layout.Stop(hosts), reason, 0)
}

// dieAfterHistory leaves the history entry of a version that was never live.
func (m *machine) dieAfterHistory(t *rapid.T) {
	p := publisher(m.t, m.store)
	dieAt(p, AtPromote)
	if _, err := p.Publish(m.t.Context(), Request{Key: hosts, Content: noise(300<<10, 9), IgnoreStop: true}); !errors.Is(err,
		errDied) {
		t.Fatalf("died with %v", err)
	}
}

func TestAnyHistoryOfOneKey(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := newStore()
		m := &machine{t: t, store: s, p: publisher(t, s), newest: map[string]uint64{}}
		rt.Repeat(map[string]func(*rapid.T){
			"publish":    m.publish,
			"publish 2":  m.publish, // as often as all the harm
			"publish 3":  m.publish,
			"1.x":        m.write1x,
			"remove":     m.removeRows,
			"damage":     m.damageRow,
			"stop":       m.stop,
			"save":       m.save,
			"restore":    m.restore,
			"die midway": m.dieAfterHistory,
		})
	})
}
