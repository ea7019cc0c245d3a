package fleet

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/klauspost/compress/zstd"

	"kvexpress/internal/kv"
	"kvexpress/internal/record"
	"kvexpress/internal/safetext"
)

// Limits of a receipt, in bytes unless a comment says otherwise. A node writes no larger receipt, and
// a larger one in the store is not read.
const (
	MaxStored  = 64 << 10 // of a receipt as it is stored
	MaxTargets = 4096     // how many targets one has
	MaxDetail  = 512      // of the text that explains an outcome
	// maxVersion is for the version of a program, maxFile for the name of a file (as in Linux), and
	// maxWord for all other words.
	maxVersion, maxFile, maxWord = 128, 4096, 64
	packFrom                     = 4 << 10 // from this size a receipt is compressed
	maxPlain                     = 4 << 20 // of a receipt once decoded
	// MaxDecoded is the memory that all receipts of a fleet can take, and targetSize the part of
	// each target beside its texts.
	MaxDecoded = 64 << 20
	targetSize = 256
	// smallFrame is the least memory that decoding takes, whatever the size of the receipt.
	smallFrame = 64 << 10
	// maxCommas is how many "," a receipt has: a target of ours has up to 23. A short value can hold
	// a million targets, which would take 300 MB before they are counted.
	maxCommas = 32 * MaxTargets
)

// ErrReceipt is a receipt that cannot be read, or whose node is not the one in its path.
var ErrReceipt = errors.New("invalid receipt")

// Marshal encodes the receipt, with its KV flags. If it does not fit into MaxStored, it leaves out
// texts and steps first, then targets.
func (r Receipt) Marshal() (value []byte, flags uint64, err error) {
	r.Format = Format
	if r.Agent != nil {
		a := *r.Agent
		a.Version = safetext.Cut(a.Version, maxVersion)
		r.Agent = &a
	}
	r.Targets = slices.Clone(r.Targets)
	for i := range r.Targets {
		r.Targets[i].Detail = safetext.Cut(r.Targets[i].Detail, MaxDetail)
	}
	if extra := len(r.Targets) - MaxTargets; extra > 0 {
		r.Targets, r.Omitted = r.Targets[:MaxTargets], r.Omitted+extra
	}
	for brief := false; ; brief = true {
		value, flags, err = r.encode()
		switch {
		case err != nil, len(value) <= MaxStored:
			return value, flags, err
		case !brief:
			for i, t := range r.Targets {
				r.Targets[i].Detail = ""
				if t.Placed != nil {
					r.Targets[i].Placed = &Placed{Age: t.Placed.Age, First: t.Placed.First}
				}
			}
		case len(r.Targets) == 0:
			return nil, 0, fmt.Errorf("the receipt of %s has %d bytes without any target; at most %d are allowed", kv.Quote(r.Node),
				len(value), MaxStored)
		default:
			keep := len(r.Targets) * 3 / 4
			r.Omitted += len(r.Targets) - keep
			r.Targets = r.Targets[:keep]
		}
	}
}

func (r Receipt) encode() ([]byte, uint64, error) {
	b, err := json.Marshal(r)
	if err != nil {
		return nil, 0, fmt.Errorf("encode the receipt of %s: %w", r.Node, err)
	}
	if len(b) < packFrom {
		return b, record.Plain.Flags(), nil
	}
	packed, err := record.Pack(b)
	return packed, record.Zstd.Flags(), err
}

// decodedSize is how many bytes a row decodes to, by its own account; parseReceipt reads no more.
func decodedSize(row kv.Entry) int {
	switch e, err := record.FromFlags(row.Flags); {
	case err != nil, e == record.Plain:
		return len(row.Value)
	case e == record.Zstd:
		var h zstd.Header
		if h.Decode(row.Value) == nil && h.HasFCS {
			return int(min(h.FrameContentSize, maxPlain+1))
		}
	}
	return maxPlain
}

// ParseReceipt decodes the row of a node. It ignores unknown fields. The error wraps ErrReceipt.
func ParseReceipt(node string, value []byte, flags uint64) (Receipt, error) {
	return parseReceipt(node, value, flags, decodedSize(kv.Entry{Value: value, Flags: flags}))
}

func parseReceipt(node string, value []byte, flags uint64, size int) (Receipt, error) {
	bad := func(format string, args ...any) (Receipt, error) {
		return Receipt{}, fmt.Errorf("%w: %s", ErrReceipt, safetext.Cut(fmt.Sprintf(format, args...), MaxDetail))
	}
	if len(value) > MaxStored {
		return bad("it has %d bytes; at most %d are read", len(value), MaxStored)
	}
	e, err := record.FromFlags(flags)
	if err != nil {
		return bad("%v", err)
	}
	plain, err := record.DecodeUpTo(e, value, min(max(size, smallFrame), maxPlain))
	if err == nil && len(plain) > size {
		err = record.ErrTooBig
	}
	if err != nil {
		return bad("%v", err)
	}
	if bytes.Count(plain, []byte(",")) > maxCommas {
		return bad("it has more than %d targets", MaxTargets)
	}
	var r Receipt
	err = json.Unmarshal(plain, &r)
	switch {
	case err != nil:
		return bad("%v", err)
	case len(r.Targets) > MaxTargets:
		return bad("it has %d targets; at most %d are read", len(r.Targets), MaxTargets)
	case r.Format < 1:
		return bad("it has no format")
	case r.Format > Format:
		return bad("its format is %d, but this program reads formats up to %d: use the newer one", r.Format, Format)
	case r.Node != node:
		return bad("it is of %s", kv.Quote(r.Node))
	case r.Sent.IsZero():
		return bad("it has no time")
	case r.Omitted < 0:
		return bad("it has %d omitted targets", r.Omitted)
	}
	r.shorten()
	return r, nil
}

// shorten cuts all texts of a receipt from the store. An honest node writes no longer ones.
func (r *Receipt) shorten() {
	short := func(s *string, most int) { *s = safetext.Cut(*s, most) }
	short(&r.Host, kv.MaxNodeLen)
	if r.Agent != nil {
		short(&r.Agent.Version, maxVersion)
	}
	for i := range r.Targets {
		t := &r.Targets[i]
		short(&t.Key, kv.MaxKeyLen)
		short(&t.File, maxFile)
		short(&t.Detail, MaxDetail)
		for _, word := range []*string{&t.By, &t.Lineage, &t.SHA256, (*string)(&t.Outcome), &t.Reason} {
			short(word, maxWord)
		}
	}
}
