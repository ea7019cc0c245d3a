package install

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"kvexpress/internal/gate"
	"kvexpress/internal/kv"
	"kvexpress/internal/record"
)

// promise reads all rows but the data: the Live has no State and no Plain. That is enough if the file is up to date or frozen. A
// raw value has only data, and is read whole.
func (tx *transaction) promise(ctx context.Context) (record.Live, error) {
	if tx.target.Raw != "" {
		return tx.live(ctx, kv.Default)
	}
	k, l := tx.target.Key, tx.Layout
	rows, err := tx.Store.Read(ctx, kv.Default, append([]string{l.Checksum(k), l.Manifest(k), l.Stop(k)}, tx.paths()...)...)
	if err == nil {
		err = tx.frozen(rows)
	}
	if err != nil {
		return record.Live{}, err
	}
	sha, m, err := record.Claimed(k, rows[l.Checksum(k)], rows[l.Manifest(k)])
	tx.offered(rows, sha)
	return record.Live{Key: k, SHA256: sha, Manifest: m, Index: rows[l.Checksum(k)].Index}, err
}

// live reads one snapshot of all rows, and gates them.
func (tx *transaction) live(ctx context.Context, c kv.Consistency) (live record.Live, err error) {
	if tx.target.Raw != "" {
		live, err = tx.raw(ctx, c)
	} else {
		var rows kv.Snapshot
		live, rows, err = record.Read(ctx, tx.Store, tx.Layout, tx.target.Key,
			record.Query{Consistency: c, Also: tx.paths(), Accept: tx.accept(ctx)})
		tx.offered(rows, live.SHA256)
	}
	if err != nil {
		return live, err
	}
	return live, live.Installable(tx.target.MinLines)
}

// accept refuses a frozen target, and waits for the memory that its content needs.
func (tx *transaction) accept(ctx context.Context) func(kv.Snapshot) error {
	return func(s kv.Snapshot) error {
		if err := tx.frozen(s); err != nil {
			return err
		}
		k, l := tx.target.Key, tx.Layout
		return tx.share.need(ctx, record.Memory(k, s[l.Data(k)], s[l.Checksum(k)], s[l.Manifest(k)]))
	}
}

// raw reads any value. It has no checksum, so nothing is verified.
func (tx *transaction) raw(ctx context.Context, c kv.Consistency) (record.Live, error) {
	rows, err := tx.Store.Read(ctx, c, append([]string{tx.target.Raw}, tx.locks...)...)
	if err == nil {
		err = tx.frozen(rows)
	}
	if err != nil {
		return record.Live{}, err
	}
	switch e := rows[tx.target.Raw]; e.State {
	case kv.Present:
		return record.Live{Key: kv.Key(tx.target.Raw), State: record.Unmanaged, Plain: e.Value, SHA256: record.Checksum(e.Value)}, nil
	case kv.Absent:
		return record.Live{}, &gate.Missing{Name: tx.target.Raw, Raw: true}
	default:
		return record.Live{}, fmt.Errorf("%s cannot be read: %w", kv.Quote(tx.target.Raw), kv.ErrDenied)
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
func (tx *transaction) frozen(rows kv.Snapshot) error {
	tx.gated = time.Now()
	var locks []kv.Entry
	for _, path := range tx.locks {
		locks = append(locks, rows[path])
	}
	if err := gate.NotLocked(tx.target.File, time.Now(), locks...); err != nil {
		return err
	}
	if tx.target.Raw != "" || tx.target.IgnoreStop {
		return nil
	}
	stop := rows[tx.Layout.Stop(tx.target.Key)]
	if err := gate.Readable(tx.target.Key, stop); err != nil {
		return err
	}
	return gate.NotStopped(tx.target.Key, stop)
}

// readFrozen reads lock and stop again, and gates them; of a candidate, it reads whether it is still offered.
func (tx *transaction) readFrozen(ctx context.Context) error {
	if err := tx.Fault.Before(AtReadAgain); err != nil {
		return err
	}
	paths := tx.locks
	if tx.target.Raw == "" {
		paths = append([]string{tx.Layout.Stop(tx.target.Key)}, tx.paths()...)
	}
	rows, err := tx.Store.Read(ctx, kv.Default, paths...)
	if err != nil {
		return err
	}
	return cmp.Or(tx.frozen(rows), tx.stillOffered(rows))
}

// frozenBy is the row that froze the target; nil if the error is another one.
func (tx *transaction) frozenBy(err error) *Frozen {
	if locked, ok := errors.AsType[*gate.Locked](err); ok && locked.Row < len(tx.locks) {
		return &Frozen{Path: tx.locks[locked.Row], Index: locked.Index, Until: locked.Until}
	}
	if stopped, ok := errors.AsType[*gate.Stopped](err); ok {
		return &Frozen{Path: tx.Layout.Stop(stopped.Key), Index: stopped.Index}
	}
	return nil
}
