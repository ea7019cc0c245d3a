package wire

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
)

// headLen is the length of the number before a message with data.
const headLen = 4

// Encode encodes a FromAgent or a FromHub, without data.
func Encode(m any) ([]byte, error) {
	b, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode a message: %w", err)
	}
	return b, nil
}

// EncodeData encodes a snapshot with a DataRow. The form is: the length of the JSON in four bytes, big-endian; the JSON
// without the value of the DataRow; and that value as it is stored.
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
	return append(append(m, b...), data...), nil
}

// errMessage is a message that does not follow the protocol.
var errMessage = errors.New("invalid message")

// DecodeFromHub is the inverse of Encode and EncodeData. The value of a DataRow is a part of b.
func DecodeFromHub(b []byte) (m FromHub, err error) {
	var data []byte
	text := b
	if len(b) > 0 && b[0] != '{' {
		if len(b) < headLen {
			return m, errMessage
		}
		n := int(binary.BigEndian.Uint32(b))
		if n > len(b)-headLen {
			return m, errMessage
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

// DecodeFromAgent is the inverse of Encode.
func DecodeFromAgent(b []byte) (m FromAgent, err error) {
	if err := json.Unmarshal(b, &m); err != nil {
		return FromAgent{}, fmt.Errorf("%w: %w", errMessage, err)
	}
	return m, nil
}
