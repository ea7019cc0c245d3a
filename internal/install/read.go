package install

import (
	"context"
	"errors"
	"fmt"
	"time"

	"kvexpress/internal/gate"
	"kvexpress/internal/kv"
	"kvexpress/internal/record"
)

// reader reads the rows of one target.
type reader struct {
	store  kv.Reader
	layout kv.Layout
	target Target
	locks  []string // paths of the target's locks, one for each of its names
	share  *Share
}

// promise reads all rows but the data: the Live has no State and no Plain. That is enough if the file is up to date or frozen. A
// raw value has only data, and is read whole.
func (r reader) promise(ctx context.Context) (record.Live, error) {
	if r.target.Raw != "" {
		return r.live(ctx, kv.Default)
	}
	k, l := r.target.Key, r.layout
	rows, err := r.store.Read(ctx, kv.Default, append([]string{l.Checksum(k), l.Manifest(k), l.Stop(k)}, r.locks...)...)
	if err == nil {
		err = r.frozen(rows)
	}
	if err != nil {
		return record.Live{}, err
	}
	sha, m, err := record.Claimed(k, rows[l.Checksum(k)], rows[l.Manifest(k)])
	return record.Live{Key: k, SHA256: sha, Manifest: m, Index: rows[l.Checksum(k)].Index}, err
}

// live reads one snapshot of all rows, and gates them.
func (r reader) live(ctx context.Context, c kv.Consistency) (live record.Live, err error) {
	if r.target.Raw != "" {
		live, err = r.raw(ctx, c)
	} else {
		live, _, err = record.Read(ctx, r.store, r.layout, r.target.Key,
			record.Query{Consistency: c, Also: r.locks, Accept: r.accept(ctx)})
	}
	if err != nil {
		return live, err
	}
	return live, live.Installable(r.target.MinLines)
}

// accept refuses a frozen target, and waits for the memory that its content needs.
func (r reader) accept(ctx context.Context) func(kv.Snapshot) error {
	return func(s kv.Snapshot) error {
		if err := r.frozen(s); err != nil {
			return err
		}
		k, l := r.target.Key, r.layout
		return r.share.need(ctx, record.Memory(k, s[l.Data(k)], s[l.Checksum(k)], s[l.Manifest(k)]))
	}
}

// raw reads any value. It has no checksum, so nothing is verified.
func (r reader) raw(ctx context.Context, c kv.Consistency) (record.Live, error) {
	rows, err := r.store.Read(ctx, c, append([]string{r.target.Raw}, r.locks...)...)
	if err == nil {
		err = r.frozen(rows)
	}
	if err != nil {
		return record.Live{}, err
	}
	switch e := rows[r.target.Raw]; e.State {
	case kv.Present:
		return record.Live{Key: kv.Key(r.target.Raw), State: record.Unmanaged, Plain: e.Value, SHA256: record.Checksum(e.Value)}, nil
	case kv.Absent:
		return record.Live{}, &gate.Missing{Name: r.target.Raw, Raw: true}
	default:
		return record.Live{}, fmt.Errorf("%s cannot be read: %w", kv.Quote(r.target.Raw), kv.ErrDenied)
	}
}

// fromData is the live version, if the caller's data is the promised one. Then nothing more has to be read: checksum, stop and
// lock are one snapshot, and the age of the data does not matter.
func (tx *transaction) fromData(ctx context.Context, promised record.Live) (record.Live, bool) {
	sha, m := promised.SHA256, promised.Manifest
	if tx.data == nil || sha == "" {
		return record.Live{}, false
	}
	plain := tx.data
	if record.Checksum(plain) != sha {
		if m == nil {
			return record.Live{}, false
		}
		encoding, err := record.ParseEncoding(m.Encoding)
		if err != nil || encoding == record.Plain {
			return record.Live{}, false
		}
		most := record.SizeLimit(m, sha, encoding)
		if err := tx.share.need(ctx, most); err != nil {
			return record.Live{}, false
		}
		plain, err = record.DecodeUpTo(encoding, tx.data, most)
		if err != nil || record.Checksum(plain) != sha {
			return record.Live{}, false
		}
	}
	live := promised
	live.Plain, live.State = plain, record.Unmanaged
	if m != nil {
		live.State = record.Managed
	}
	return live, true
}

// frozen gates rows by lock and stop.
func (r reader) frozen(rows kv.Snapshot) error {
	var locks []kv.Entry
	for _, path := range r.locks {
		locks = append(locks, rows[path])
	}
	if err := gate.NotLocked(r.target.File, time.Now(), locks...); err != nil {
		return err
	}
	if r.target.Raw != "" || r.target.IgnoreStop {
		return nil
	}
	stop := rows[r.layout.Stop(r.target.Key)]
	if err := gate.Readable(r.target.Key, stop); err != nil {
		return err
	}
	return gate.NotStopped(r.target.Key, stop)
}

// readFrozen reads lock and stop again, and gates them.
func (tx *transaction) readFrozen(ctx context.Context) error {
	if err := tx.Fault.Before(AtReadAgain); err != nil {
		return err
	}
	paths := tx.locks
	if tx.target.Raw == "" {
		paths = append([]string{tx.layout.Stop(tx.target.Key)}, tx.locks...)
	}
	rows, err := tx.store.Read(ctx, kv.Default, paths...)
	if err != nil {
		return err
	}
	return tx.frozen(rows)
}

// frozenBy is the row that froze the target; nil if the error is another one.
func (r reader) frozenBy(err error) *Frozen {
	if locked, ok := errors.AsType[*gate.Locked](err); ok && locked.Row < len(r.locks) {
		return &Frozen{Path: r.locks[locked.Row], Index: locked.Index, Until: locked.Until}
	}
	if stopped, ok := errors.AsType[*gate.Stopped](err); ok {
		return &Frozen{Path: r.layout.Stop(stopped.Key), Index: stopped.Index}
	}
	return nil
}
