package kvdump

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"kvexpress/internal/kv"
)

// MaxInput is the most bytes that Decode reads. An export of ours has fewer, since
// one list brings no more.
const MaxInput = kv.MaxListing

// Error says which row of an export cannot be brought in, and why. Nothing of it
// must be written then.
type Error struct {
	Row    int    // from 1; 0: it is not about one row
	Key    string // as it stands there; "" where it is not known
	Reason string // for people, with a remedy where there is one
}

func (e *Error) Error() string {
	text := "the export cannot be used"
	if e.Row > 0 {
		text += fmt.Sprintf(", row %d", e.Row)
	}
	if e.Key != "" {
		text += ", key " + kv.Quote(e.Key)
	}
	return text + ": " + e.Reason
}

// Place says where the rows are to go.
type Place struct {
	// Prefix is put before each key, with one slash between them, as Consul's own
	// import does; "": nothing is.
	Prefix string
	// Namespace and Partition are those of Consul Enterprise that will be written
	// to. A row that names another one is refused; "" is "default".
	Namespace, Partition string
}

// entry is a row as it is written. What else stands in it is ignored, as Consul does.
type entry struct {
	Key       json.RawMessage `json:"key"`
	Flags     uint64          `json:"flags"`
	Value     json.RawMessage `json:"value"`
	Namespace string          `json:"namespace"`
	Partition string          `json:"partition"`
}

// Decode reads a whole export and returns its rows in the order of their paths. An
// export that is not valid to its end is refused with an *Error; any other error is
// that of r.
func Decode(r io.Reader, to Place) ([]kv.Row, error) { return decode(r, to, MaxInput) }

func decode(r io.Reader, to Place, most int64) ([]kv.Row, error) {
	in := &counter{r: r, most: most}
	dec := json.NewDecoder(in)
	if begin, err := dec.Token(); err != nil {
		return nil, in.judge(err, 0)
	} else if begin != json.Delim('[') {
		return nil, &Error{Reason: "it is not a list of keys as `consul kv export` prints it"}
	}
	var rows []kv.Row
	for dec.More() {
		var e *entry
		if err := dec.Decode(&e); err != nil {
			return nil, in.judge(err, len(rows)+1)
		}
		row, err := e.row(to)
		if err != nil {
			err.Row = len(rows) + 1
			return nil, err
		}
		rows = append(rows, row)
	}
	if _, err := dec.Token(); err != nil { // the bracket at the end
		return nil, in.judge(err, 0)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		if err == nil {
			err = errors.New("there is more after the end of the list")
		}
		return nil, in.judge(err, 0)
	}
	return inOrder(rows)
}

// inOrder sorts rows, and refuses those that are there twice.
func inOrder(rows []kv.Row) ([]kv.Row, error) {
	slices.SortStableFunc(rows, func(a, b kv.Row) int { return strings.Compare(a.Path, b.Path) })
	for i := 1; i < len(rows); i++ {
		if rows[i].Path == rows[i-1].Path {
			return nil, &Error{Key: rows[i].Path, Reason: "it is there twice; remove one of them"}
		}
	}
	return rows, nil
}

func (e *entry) row(to Place) (kv.Row, *Error) {
	if e == nil {
		return kv.Row{}, &Error{Reason: "it is null"}
	}
	key, reason := keyOf(e.Key)
	bad := func(format string, args ...any) (kv.Row, *Error) {
		return kv.Row{}, &Error{Key: key, Reason: fmt.Sprintf(format, args...)}
	}
	if reason == "" {
		reason = badKey(key)
	}
	switch {
	case reason != "":
		return bad("%s", reason)
	case !same(e.Namespace, to.Namespace):
		return bad("it is of the namespace %s; name that with CONSUL_NAMESPACE, or remove it from the export", kv.Quote(e.Namespace))
	case !same(e.Partition, to.Partition):
		return bad("it is of the partition %s; name that with CONSUL_PARTITION, or remove it from the export", kv.Quote(e.Partition))
	}
	value, err := valueOf(e.Value)
	switch {
	case err != nil:
		return bad("%v", err)
	case len(value) > kv.MaxValue:
		return bad("its value has %d bytes, at most %d are allowed; remove it from the export", len(value), kv.MaxValue)
	}
	full := key
	if to.Prefix != "" {
		full = strings.TrimRight(to.Prefix, "/") + "/" + key
	}
	return kv.Row{Path: full, Entry: kv.Entry{State: kv.Present, Value: value, Flags: e.Flags}}, nil
}

// keyOf reads a name, and why it is none.
func keyOf(raw json.RawMessage) (key, reason string) {
	if len(raw) == 0 {
		return "", "it has no key"
	}
	if err := json.Unmarshal(raw, &key); err != nil {
		return "", "its key is no string"
	}
	// JSON puts U+FFFD in the place of what is no character.
	if !utf8.Valid(raw) || strings.ContainsRune(key, utf8.RuneError) && bytes.Contains(bytes.ToLower(raw), []byte(`\ud`)) {
		return key, "its name is not UTF-8"
	}
	return key, ""
}

// badKey is why a key could not be asked for by its name in Consul's API.
func badKey(key string) string {
	switch {
	case key == "":
		return "it has no key"
	case key == ".", key == "./":
		return "its name is a dot"
	case key[0] == '/':
		return "its name begins with a slash"
	case strings.HasPrefix(key, " "), strings.HasSuffix(key, " "):
		return "its name begins or ends with a space"
	}
	if clean := path.Clean(key); clean != strings.TrimSuffix(key, "/") || clean == ".." || strings.HasPrefix(clean, "../") {
		return `a part of its name between slashes is empty, "." or "..", which Consul does not take`
	}
	return ""
}

// valueOf reads a value. One that is missing is not an empty one, which is null in
// answers of Consul's API.
func valueOf(raw json.RawMessage) ([]byte, error) {
	if len(raw) == 0 {
		return nil, errors.New("it has no value")
	}
	var packed *string
	if err := json.Unmarshal(raw, &packed); err != nil {
		return nil, errors.New("its value is no string")
	}
	if packed == nil {
		return nil, nil
	}
	value, err := base64.StdEncoding.DecodeString(*packed)
	if err != nil {
		return nil, fmt.Errorf("its value is not base64: %w", err)
	}
	return value, nil
}

func same(named, used string) bool {
	const usual = "default"
	if used == "" {
		used = usual
	}
	return named == "" || named == used
}

// counter reads, and notes whether it was too much or went wrong.
type counter struct {
	r      io.Reader
	most   int64
	n      int64
	blanks int // how many there are at the end of what was read
	full   bool
	err    error
}

// maxBlanks is how many blanks may stand in a row: the decoder looks at all of them
// again with each read.
const maxBlanks = 1 << 20

var errTooLarge = errors.New("too large")

func (c *counter) Read(p []byte) (int, error) {
	rest := c.most - c.n
	if rest > 0 {
		p = p[:min(int64(len(p)), rest)]
	} else {
		p = p[:min(len(p), 1)] // tells "full" from "more"
	}
	n, err := c.r.Read(p)
	c.n += int64(n)
	const blank = " \t\r\n"
	if text := bytes.TrimRight(p[:n], blank); len(text) == 0 {
		c.blanks += n
	} else {
		c.blanks = n - len(text)
	}
	if c.full = c.full || c.n > c.most || c.blanks > maxBlanks; c.full {
		return 0, errTooLarge
	}
	return n, c.note(err)
}

func (c *counter) note(err error) error {
	if err != nil && !errors.Is(err, io.EOF) {
		c.err = err
	}
	return err
}

// judge is what to say of an error of the decoder.
func (c *counter) judge(err error, row int) error {
	switch {
	case c.full && c.n <= c.most:
		return &Error{Reason: "it has a million blanks in a row"}
	case c.full:
		return &Error{Reason: fmt.Sprintf("it has more than %d MiB; export it in parts, by prefixes", c.most>>20)}
	case c.err != nil:
		return c.err
	case errors.Is(err, io.EOF) && c.n == 0:
		return &Error{Reason: "it is empty"}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return &Error{Row: row, Reason: "it ends in the middle"}
	}
	var wrong *json.UnmarshalTypeError
	switch {
	case errors.As(err, &wrong) && wrong.Field != "":
		return &Error{Row: row, Reason: fmt.Sprintf("its %s cannot be %s", wrong.Field, strings.Trim(kv.Quote(wrong.Value), `"`))}
	case errors.As(err, &wrong):
		return &Error{Row: row, Reason: "it is a " + wrong.Value + ", and no object with key, flags and value"}
	}
	return &Error{Row: row, Reason: "it is not JSON: " + kv.Quote(err.Error())}
}
