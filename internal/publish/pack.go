package publish

import (
	"errors"
	"fmt"
	"sync"

	"kvexpress/internal/gate"
	"kvexpress/internal/kv"
	"kvexpress/internal/record"
)

// parcel is content that passed the gate, ready to be stored.
type parcel struct {
	plain, stored []byte
	encoding      record.Encoding
	sha256        string
	lines         int
	// past is how history stores it, with the KV flags. It is compressed once, and only if
	// there is something to write.
	past func() (value []byte, flags uint64)
}

// pack checks and encodes the content, before any request.
func pack(req Request) (parcel, error) {
	if err := gate.Message(req.Message); err != nil {
		return parcel{}, fmt.Errorf("publish %s: %w", req.Key, err)
	}
	if req.Now && req.Message == "" {
		return parcel{}, &gate.Refusal{Reason: gate.NoMessage, Key: req.Key, Remedy: "say why with -m",
			Detail: "--now skips the stages of its policy, and needs a message"}
	}
	lines := record.Lines(req.Content)
	if err := gate.Publishable(req.Key, len(req.Content), lines, req.MinLines); err != nil {
		return parcel{}, err
	}
	e := req.Encoding
	if e == "" {
		e = record.Plain
	}
	stored, err := encode(req.Key, req.Content, e)
	if err != nil {
		return parcel{}, err
	}
	return parcel{
		plain: req.Content, stored: stored, encoding: e,
		sha256: record.Checksum(req.Content), lines: lines,
		past: sync.OnceValues(func() ([]byte, uint64) { return pastForm(req.Content, stored, e) }),
	}, nil
}

// encode returns the content as it is stored: at most kv.MaxStored bytes of at most record.MaxPlain. The error is a
// *gate.Refusal, which names the encoding that fits, if there is one.
func encode(k kv.Key, plain []byte, e record.Encoding) ([]byte, error) {
	stored, err := record.Encode(e, plain)
	if err == nil && len(stored) <= kv.MaxStored {
		return stored, nil
	}
	r := &gate.Refusal{Reason: gate.TooLarge, Key: k, Remedy: "split the file",
		Detail: fmt.Sprintf("it has %d bytes, at most %d are allowed", len(plain), record.MaxPlain)}
	switch {
	case errors.Is(err, record.ErrTooBig):
		return nil, r
	case err != nil:
		return nil, fmt.Errorf("publish %s: %w", k, err)
	}
	r.Detail = fmt.Sprintf("it has %d bytes as %s, at most %d fit into one transaction", len(stored), e, kv.MaxStored)
	for _, other := range []struct {
		encoding record.Encoding
		flag     string
	}{{record.Zstd, "--encoding zstd"}, {record.Brotli, "-z"}} { // 1.x can read the last one
		if other.encoding == e {
			continue
		}
		if packed, err := record.Encode(other.encoding, plain); err == nil && len(packed) <= kv.MaxStored {
			r.Remedy = fmt.Sprintf("with %s it has %d bytes, and fits", other.flag, len(packed))
		}
	}
	return nil, r
}

// pastForm is how history holds content that is stored in this form, with the KV flags.
func pastForm(plain, stored []byte, e record.Encoding) ([]byte, uint64) {
	z, err := record.Pack(plain)
	if err != nil || len(z) > len(stored) {
		return stored, e.Flags()
	}
	return z, record.Zstd.Flags()
}
