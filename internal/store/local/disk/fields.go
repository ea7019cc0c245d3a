package disk

import "encoding/binary"

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendLength(b []byte, n int, isNil bool) []byte {
	if isNil {
		return append(b, 0)
	}
	return binary.AppendUvarint(b, uint64(n)+1)
}

func appendBytes(b, value []byte) []byte {
	return append(appendLength(b, len(value), value == nil), value...)
}

// fields reads a payload. After the first field that is not there all are zero, and end
// says so.
type fields struct {
	rest []byte
	bad  bool
}

func (f *fields) number() uint64 {
	v, n := binary.Uvarint(f.rest)
	return advance(f, v, n)
}

func (f *fields) signed() int64 {
	v, n := binary.Varint(f.rest)
	return advance(f, v, n)
}

func advance[T uint64 | int64](f *fields, v T, n int) T {
	if n <= 0 || f.bad {
		f.bad = true
		return 0
	}
	f.rest = f.rest[n:]
	return v
}

// take cuts off n bytes.
func (f *fields) take(n uint64) []byte {
	if f.bad || n > uint64(len(f.rest)) {
		f.bad = true
		return nil
	}
	cut := f.rest[:n]
	f.rest = f.rest[n:]
	return cut
}

func (f *fields) text() string { return string(f.take(f.number())) }

// length is that of a list, and whether it is nil. No list has more elements than there
// are bytes, so that a bad length costs no memory.
func (f *fields) length() (n uint64, isNil bool) {
	n = f.number()
	if n == 0 {
		return 0, true
	}
	if n--; n > uint64(len(f.rest)) {
		f.bad = true
		return 0, true
	}
	return n, false
}

func (f *fields) bytes() []byte {
	n, isNil := f.length()
	if isNil {
		return nil
	}
	return append([]byte{}, f.take(n)...)
}

// end is an error unless each field was there and nothing is left.
func (f *fields) end() error {
	if f.bad || len(f.rest) > 0 {
		return errRecord
	}
	return nil
}
