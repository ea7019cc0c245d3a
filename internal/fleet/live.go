package fleet

import (
	"context"
	"time"

	"kvexpress/internal/gate"
	"kvexpress/internal/kv"
	"kvexpress/internal/record"
)

// Live is the live version of a key, without its bytes.
type Live struct {
	Key      kv.Key
	Exists   bool
	SHA256   string       // of the checksum row; "" if the rows promise nothing reliable
	Manifest *kv.Manifest // nil unless it is about these bytes
	Index    uint64       // of the manifest, or else the checksum, in the order of the store's writes
	Stop     kv.Entry
	Past     []Past // versions before, the newest first: see Reader.Live
	// Err is why this key is unknown though the store answered: it cannot be read, or a later
	// kvexpress wrote it.
	Err error
}

// Past is when an earlier version was published, by the store's clock within the tolerance.
type Past struct {
	Version uint64
	At      time.Time
}

// Wanted is the version that nodes should have.
type Wanted struct {
	Lineage string
	Version uint64 // 0: kvexpress 1.x wrote it
	SHA256  string
}

// Wanted is the live version.
func (l Live) Wanted() Wanted {
	w := Wanted{SHA256: l.SHA256}
	if l.Manifest != nil {
		w.Lineage, w.Version = l.Manifest.Lineage, l.Manifest.Version
	}
	return w
}

// Stopped reports whether the key is stopped in the whole fleet.
func (l Live) Stopped() bool {
	return l.Stop.State == kv.Present && gate.NotStopped(l.Key, l.Stop) != nil
}

// Live reads several keys. Read the roster first: then a node cannot report a version that is newer
// than the answer. Past versions are read if an `out` of the roster has missed one. The error is
// the store's; Live.Err is the error of one key.
func (r *Reader) Live(ctx context.Context, roster Roster, keys ...kv.Key) ([]Live, error) {
	const rows = 3
	all := make([]Live, 0, len(keys))
	for len(keys) > 0 {
		some := keys[:min(len(keys), kv.MaxOps/rows)]
		keys = keys[len(some):]
		var paths []string
		for _, k := range some {
			paths = append(paths, r.Layout.Checksum(k), r.Layout.Manifest(k), r.Layout.Stop(k))
		}
		found, err := r.Store.Read(ctx, kv.Default, paths...)
		if err != nil {
			return nil, err
		}
		for i, k := range some {
			all = append(all, live(k, found[paths[rows*i]], found[paths[rows*i+1]], found[paths[rows*i+2]]))
		}
	}
	oldest := roster.oldest()
	for i := range all {
		if m := all[i].Manifest; m != nil && oldest[all[i].Key] > 0 && oldest[all[i].Key]+1 < m.Version {
			if err := r.past(ctx, &all[i]); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

// One is Live for one key, which must exist.
func (r *Reader) One(ctx context.Context, roster Roster, k kv.Key) (Live, error) {
	all, err := r.Live(ctx, roster, k)
	switch {
	case err != nil:
		return Live{}, err
	case all[0].Err == nil && !all[0].Exists:
		return Live{}, &gate.Missing{Name: string(k)}
	}
	return all[0], all[0].Err
}

func live(k kv.Key, checksum, manifest, stop kv.Entry) Live {
	l := Live{Key: k, Exists: checksum.State == kv.Present, Stop: stop, Index: manifest.Index}
	if l.Err = gate.Readable(k, checksum, manifest, stop); l.Err == nil {
		l.SHA256, l.Manifest, l.Err = record.Claimed(k, checksum, manifest)
		if l.Manifest == nil {
			l.Index = checksum.Index
		}
	}
	return l
}

// oldest is the oldest version that an `out` has reported, by key.
func (r Roster) oldest() map[kv.Key]uint64 {
	oldest := map[kv.Key]uint64{}
	for _, n := range r.Nodes {
		for _, t := range n.Receipt.Targets {
			if k := kv.Key(t.Key); t.By == ByOut && t.Version > 0 && (oldest[k] == 0 || t.Version < oldest[k]) {
				oldest[k] = t.Version
			}
		}
	}
	return oldest
}

// keptVersions is how many versions before the live one the history has, at most.
const keptVersions = 10

// past reads when the kept versions before the live one were published.
func (r *Reader) past(ctx context.Context, l *Live) error {
	var paths []string
	for n := l.Manifest.Version - 1; n > 0 && len(paths) < keptVersions; n-- {
		paths = append(paths, r.Layout.HistoryManifest(l.Key, n))
	}
	rows, err := r.Store.Read(ctx, kv.Default, paths...)
	if err != nil {
		return err
	}
	for _, path := range paths {
		m, err := kv.ParseManifest(rows[path].Value)
		if err == nil && m.Lineage == l.Manifest.Lineage && m.Version < l.Manifest.Version {
			l.Past = append(l.Past, Past{m.Version, byStore(m.PublishedAt, m.ClockOffset)})
		}
	}
	return nil
}

// Damage verifies the data of the live version of a key. why is "" if it is whole or absent; size is
// how many bytes were read. Unless once is set, it waits for a writer of kvexpress 1.x that may be
// about to complete it. The error wraps kv.ErrDenied if the data cannot be read.
func (r *Reader) Damage(ctx context.Context, k kv.Key, once bool) (why string, size int, err error) {
	live, _, err := record.Read(ctx, r.Store, r.Layout, k, record.Query{Once: once, Accept: func(rows kv.Snapshot) error {
		size += len(rows[r.Layout.Data(k)].Value)
		return nil
	}})
	return live.Why, size, err
}
