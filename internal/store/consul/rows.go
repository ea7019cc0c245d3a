package consul

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"kvexpress/internal/kv"
)

// listedRow is a row of a list whose value was cut out.
type listedRow struct {
	Key         string
	Value       json.RawMessage // see cutter.take
	Flags       uint64
	CreateIndex uint64
	ModifyIndex uint64
}

// decodeRows reads a list of rows one by one, so that an answer is in memory once.
func decodeRows(body io.Reader, prefix string) ([]kv.Row, error) {
	c := &cutter{body: bufio.NewReaderSize(body, 32<<10)}
	dec := json.NewDecoder(c)
	if begin, err := dec.Token(); err != nil {
		return nil, err
	} else if begin != json.Delim('[') {
		return nil, errors.New("it is not a list")
	}
	var rows []kv.Row
	for dec.More() {
		var r listedRow
		if err := dec.Decode(&r); err != nil {
			return nil, err
		}
		switch {
		case !strings.HasPrefix(r.Key, prefix):
			return nil, fmt.Errorf("it lists %s", kv.Quote(r.Key))
		case r.CreateIndex == 0 || r.ModifyIndex == 0:
			return nil, fmt.Errorf("%s has no index", kv.Quote(r.Key))
		}
		value, err := c.take(r.Value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", kv.Quote(r.Key), err)
		}
		rows = append(rows, kv.Row{Path: r.Key, Entry: entry(&row{r.Key, value, r.Flags, r.CreateIndex, r.ModifyIndex})})
	}
	_, err := dec.Token()
	return rows, err
}

// cutter passes JSON on, with a mark in the place of every string that is a member
// named Value, and decodes those itself. Values are most of a long list, and a JSON
// decoder looks four times at each of their bytes.
type cutter struct {
	body   *bufio.Reader
	text   []byte // to pass on
	err    error  // what comes after it
	inside bool   // of a string, as far as is known: an escaped quote turns it round, and nothing more is cut out
	named  bool   // the last string was "Value"
	packed []byte

	values [][]byte // that wait to be taken
	cut    int
	taken  int
}

// markValue begins what stands for a value. It cannot begin base64.
const markValue = `!`

func (c *cutter) Read(p []byte) (int, error) {
	for len(c.text) == 0 && c.err == nil {
		c.step()
	}
	if len(c.text) == 0 {
		return 0, c.err
	}
	n := copy(p, c.text)
	c.text = append(c.text[:0], c.text[n:]...)
	return n, nil
}

// step passes on a string, up to the quote at its end, or what is between two of them.
func (c *cutter) step() {
	start := len(c.text)
	if c.text, c.err = c.upToQuote(c.text); c.err != nil {
		return
	}
	piece := c.text[start:]
	begins := !c.inside && c.named && string(bytes.TrimSpace(piece[:len(piece)-1])) == ":" // spaces: `-dev` indents
	c.named = c.inside && string(piece) == `Value"`
	c.inside = !c.inside
	if begins {
		c.value()
	}
}

// upToQuote adds what comes up to a quote.
func (c *cutter) upToQuote(to []byte) ([]byte, error) {
	for {
		piece, err := c.body.ReadSlice('"')
		to = append(to, piece...)
		if !errors.Is(err, bufio.ErrBufferFull) {
			return to, err
		}
	}
}

// value decodes a string, and passes on its mark.
func (c *cutter) value() {
	if c.packed, c.err = c.upToQuote(c.packed[:0]); c.err != nil {
		return
	}
	packed := c.packed[:len(c.packed)-1]
	value := make([]byte, base64.StdEncoding.DecodedLen(len(packed)))
	n, err := base64.StdEncoding.Decode(value, packed)
	// base64 leaves line breaks out, JSON forbids them.
	if err == nil && (bytes.IndexByte(packed, '\n') >= 0 || bytes.IndexByte(packed, '\r') >= 0) {
		err = errors.New("a string has more than one line")
	}
	if err != nil {
		c.err = fmt.Errorf("a value: %w", err)
		return
	}
	c.values = append(c.values, value[:n])
	c.text = append(strconv.AppendInt(append(c.text, markValue...), int64(c.cut), 10), '"')
	c.cut++
	c.inside = false
}

// take returns the value that a mark stands for. Each stands once, and in order: no row
// gets another's. A value that was written in another way, such as null, was not cut out.
func (c *cutter) take(member json.RawMessage) ([]byte, error) {
	number, marked := bytes.CutPrefix(member, []byte(`"`+markValue))
	if !marked {
		var value []byte
		if len(member) == 0 {
			return nil, nil
		}
		err := json.Unmarshal(member, &value)
		return value, err
	}
	if string(number) != strconv.Itoa(c.taken)+`"` || len(c.values) == 0 {
		return nil, errors.New("a value is not base64")
	}
	value := c.values[0]
	c.values = c.values[1:]
	c.taken++
	return value, nil
}
