package wire

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// headLen is the length of the two numbers before a message with data.
const headLen = 8

// Encode encodes a FromAgent or a FromHub, without data.
func Encode(m any) ([]byte, error) {
	b, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode a message: %w", err)
	}
	return b, nil
}

// EncodeData encodes a snapshot with a DataRow. The form is: the lengths of the JSON and of the data, in four bytes each,
// big-endian; the JSON without the value of the DataRow; and that value as it is stored.
func EncodeData(s Snapshot) ([]byte, error) {
	rows := make([]Row, len(s.Rows))
	var data []byte
	for i, r := range s.Rows {
		if r.Name == DataRow {
			data, r.Value = r.Value, nil
		}
		rows[i] = r
	}
	s.Rows = rows
	b, err := Encode(FromHub{Snapshot: &s})
	if err != nil {
		return nil, err
	}
	m := make([]byte, 0, headLen+len(b)+len(data))
	m = binary.BigEndian.AppendUint32(m, uint32(len(b)))
	m = binary.BigEndian.AppendUint32(m, uint32(len(data)))
	return append(append(m, b...), data...), nil
}

// lengths reads the head of a message with data: the lengths of its JSON and of the whole message.
func lengths(head []byte) (text, all int, err error) {
	if len(head) < headLen {
		return 0, 0, errMessage
	}
	n, data := binary.BigEndian.Uint32(head), binary.BigEndian.Uint32(head[4:])
	size := headLen + uint64(n) + uint64(data)
	if size > MaxFromHub {
		return 0, 0, fmt.Errorf("%w: it has %d bytes, and at most %d are allowed", errMessage, size, MaxFromHub)
	}
	return int(n), int(size), nil
}

// readData reads a message with data into one allocation.
func readData(r io.Reader) ([]byte, error) {
	head := make([]byte, headLen)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	_, size, err := lengths(head)
	if err != nil {
		return nil, err
	}
	b := make([]byte, size)
	if _, err := io.ReadFull(r, b[copy(b, head):]); err != nil {
		return nil, fmt.Errorf("read a message of %d bytes: %w", size, err)
	}
	switch _, err := io.ReadFull(r, head[:1]); {
	case errors.Is(err, io.EOF):
		return b, nil
	case err != nil:
		return nil, err
	}
	return nil, fmt.Errorf("%w: it has more than the %d bytes that its head says", errMessage, size)
}

// errMessage is a message that does not follow the protocol.
var errMessage = errors.New("invalid message")

// DecodeFromHub is the inverse of Encode and EncodeData. The value of a DataRow is a part of b.
func DecodeFromHub(b []byte) (m FromHub, err error) {
	var data []byte
	text := b
	if len(b) > 0 && b[0] != '{' {
		n, all, err := lengths(b)
		if err != nil || all != len(b) {
			return m, errors.Join(errMessage, err)
		}
		text, data = b[headLen:headLen+n], b[headLen+n:]
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return FromHub{}, fmt.Errorf("%w: %w", errMessage, err)
	}
	if data != nil && m.Snapshot != nil {
		for i := range m.Snapshot.Rows {
			if r := &m.Snapshot.Rows[i]; r.Name == DataRow {
				r.Value = data
			}
		}
	}
	return m, nil
}

// maxCommas is how many "," a message of an agent has: a target in a receipt has up to 23. Short JSON can hold a million targets,
// which take a hundred times its memory before they are counted.
const maxCommas = 32 * MaxTargets

// DecodeFromAgent is the inverse of Encode. A receipt is not decoded twice: its JSON may be invalid, and is a part of b.
func DecodeFromAgent(b []byte) (m FromAgent, err error) {
	if bytes.Count(b, []byte(",")) > maxCommas {
		return m, fmt.Errorf("%w: it has more than %d targets", errMessage, MaxTargets)
	}
	if receipt, ok := bytes.CutPrefix(b, []byte(`{"receipt":`)); ok {
		if receipt, ok = bytes.CutSuffix(receipt, []byte("}")); ok {
			return FromAgent{Receipt: receipt}, nil
		}
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return FromAgent{}, fmt.Errorf("%w: %w", errMessage, err)
	}
	return m, nil
}
