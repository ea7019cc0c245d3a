package install

import (
	"context"
	"errors"

	"kvexpress/internal/gate"
	"kvexpress/internal/record"
)

// seen is what stands in the store, if the data that the caller brought along is
// what the small rows promise: then nothing more has to be read. Data of any age
// may be brought: the checksum is of the moment in which lock and stop were read.
func (tx *transaction) seen(ctx context.Context, c claim) (record.Live, bool) {
	if tx.data == nil || c.sha == "" {
		return record.Live{}, false
	}
	plain := tx.data
	if record.Checksum(plain) != c.sha {
		if c.manifest == nil {
			return record.Live{}, false
		}
		encoding, err := record.ParseEncoding(c.manifest.Encoding)
		if err != nil || encoding == record.Plain {
			return record.Live{}, false
		}
		most := record.SizeLimit(c.manifest, c.sha, encoding)
		if err := tx.share.need(ctx, most); err != nil {
			return record.Live{}, false
		}
		plain, err = record.DecodeUpTo(encoding, tx.data, most)
		if err != nil || record.Checksum(plain) != c.sha {
			return record.Live{}, false
		}
	}
	s := record.Live{Key: tx.target.Key, State: record.Unmanaged, Plain: plain, SHA256: c.sha, Manifest: c.manifest}
	if c.manifest != nil {
		s.State = record.Managed
	}
	return s, true
}

// heldBy is the row that an error is about, if it is one that freezes.
func (r reader) heldBy(err error) *Frozen {
	if locked, ok := errors.AsType[*gate.Locked](err); ok && locked.Row < len(r.locks) {
		return &Frozen{Path: r.locks[locked.Row], Index: locked.Index, Until: locked.Until}
	}
	if stopped, ok := errors.AsType[*gate.Stopped](err); ok {
		return &Frozen{Path: r.layout.Stop(stopped.Key), Index: stopped.Index}
	}
	return nil
}
