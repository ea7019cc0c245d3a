package embedded

import (
	"bufio"
	"cmp"
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

// maxExport is the largest export, in bytes. WriteExport stays below it, since a listing of a store is limited to the same size.
const maxExport = kv.MaxListing

// ExportError reports why an export cannot be imported, and in which row. No row of the export may be written.
type ExportError struct {
	Row    int    // from 1; 0: the error is not about one row
	Key    string // as in the export; "" if unknown
	Reason string // for people, with a remedy if there is one
}

func (e *ExportError) Error() string {
	text := "the export cannot be used"
	if e.Row > 0 {
		text += fmt.Sprintf(", row %d", e.Row)
	}
	if e.Key != "" {
		text += ", key " + kv.Quote(e.Key)
	}
	return text + ": " + e.Reason
}

// Destination is the place for imported rows.
type Destination struct {
	// Prefix is put in front of each key, with one slash between them, as in Consul's own import. May be "".
	Prefix string
	// Namespace and Partition (Consul Enterprise) are written to; "" is "default". A row that names another one is refused.
	Namespace, Partition string
}

// exportRow is a row in an export. Other fields are ignored, as in Consul.
type exportRow struct {
	Key       string          `json:"key"`
	Flags     uint64          `json:"flags"`
	Value     json.RawMessage `json:"value"`
	Namespace string          `json:"namespace"`
	Partition string          `json:"partition"`
}

// ReadExport reads a whole export and returns its rows in the order of their paths. An export that is not valid to its end is
// refused with an *ExportError. Any other error comes from r.
func ReadExport(r io.Reader, to Destination) ([]kv.Row, error) { return readExport(r, to, maxExport) }

func readExport(r io.Reader, to Destination, most int64) ([]kv.Row, error) {
	text, err := io.ReadAll(io.LimitReader(r, most+1))
	if err != nil {
		return nil, err
	}
	if int64(len(text)) > most {
		return nil, &ExportError{Reason: fmt.Sprintf("it has more than %d MiB; export it in parts, by prefixes", most>>20)}
	}
	var all []json.RawMessage
	if err = json.Unmarshal(text, &all); err == nil && all == nil {
		err = errors.New("null")
	}
	if err != nil {
		return nil, &ExportError{Reason: "it is not a list of keys as printed by `consul kv export`: " + kv.Quote(err.Error())}
	}
	rows := make([]kv.Row, len(all))
	for i, text := range all {
		var e exportRow
		if err := json.Unmarshal(text, &e); err != nil {
			return nil, &ExportError{Row: i + 1, Reason: wrongType(err)}
		}
		row, bad := e.row(to)
		if bad != nil {
			bad.Row = i + 1
			return nil, bad
		}
		rows[i] = row
	}
	return inOrder(rows)
}

// wrongType explains an error in a row, which is valid JSON.
func wrongType(err error) string {
	wrong, ok := errors.AsType[*json.UnmarshalTypeError](err)
	switch {
	case !ok:
		return kv.Quote(err.Error())
	case wrong.Field == "":
		return "it is a " + wrong.Value + " instead of an object with key, flags and value"
	}
	return fmt.Sprintf("its %s cannot be %s", wrong.Field, strings.Trim(kv.Quote(wrong.Value), `"`))
}

// inOrder sorts rows, and refuses duplicates.
func inOrder(rows []kv.Row) ([]kv.Row, error) {
	slices.SortStableFunc(rows, func(a, b kv.Row) int { return strings.Compare(a.Path, b.Path) })
	for i := 1; i < len(rows); i++ {
		if rows[i].Path == rows[i-1].Path {
			return nil, &ExportError{Key: rows[i].Path, Reason: "it occurs twice; remove one of them"}
		}
	}
	return rows, nil
}

func (e *exportRow) row(to Destination) (kv.Row, *ExportError) {
	bad := func(format string, args ...any) (kv.Row, *ExportError) {
		return kv.Row{}, &ExportError{Key: e.Key, Reason: fmt.Sprintf(format, args...)}
	}
	reason := badKey(e.Key)
	switch {
	case reason != "":
		return bad("%s", reason)
	case !same(e.Namespace, to.Namespace):
		return bad("it belongs to the namespace %s; set CONSUL_NAMESPACE, or remove the row from the export", kv.Quote(e.Namespace))
	case !same(e.Partition, to.Partition):
		return bad("it belongs to the partition %s; set CONSUL_PARTITION, or remove the row from the export", kv.Quote(e.Partition))
	}
	var packed string // null is an empty value, as in Consul's API
	if e.Value == nil || json.Unmarshal(e.Value, &packed) != nil {
		return bad("it has no value in base64")
	}
	value, err := base64.StdEncoding.DecodeString(packed)
	switch {
	case err != nil:
		return bad("its value is not base64: %v", err)
	case len(value) > kv.MaxValue:
		return bad("its value has %d bytes, at most %d are allowed; remove it from the export", len(value), kv.MaxValue)
	}
	full := e.Key
	if to.Prefix != "" {
		full = strings.TrimRight(to.Prefix, "/") + "/" + full
	}
	return kv.Row{Path: full, Entry: kv.Entry{State: kv.Present, Value: value, Flags: e.Flags}}, nil
}

// badKey says why Consul's API cannot address a key; "" if it can.
func badKey(key string) string {
	switch {
	case key == "":
		return "it has no key"
	case strings.ContainsRune(key, utf8.RuneError): // the decoder puts it in place of invalid bytes
		return "its name is not UTF-8"
	case key == ".", key == "./":
		return "its name is a dot"
	case key[0] == '/':
		return "its name begins with a slash"
	case strings.HasPrefix(key, " "), strings.HasSuffix(key, " "):
		return "its name begins or ends with a space"
	}
	if clean := path.Clean(key); clean != strings.TrimSuffix(key, "/") || clean == ".." || strings.HasPrefix(clean, "../") {
		return `a part of its name between slashes is empty, "." or "..", which Consul does not allow`
	}
	return ""
}

func same(named, used string) bool { return named == "" || named == cmp.Or(used, "default") }

// WriteExport writes rows exactly as `consul kv export` does, with a line break at the end.
func WriteExport(w io.Writer, rows []kv.Row) error {
	out := bufio.NewWriterSize(w, 64<<10) // it keeps its first error
	next, end := "[\n\t", "[]\n"
	for _, row := range rows {
		b, err := json.MarshalIndent(struct {
			Key   string `json:"key"`
			Flags uint64 `json:"flags"`
			Value string `json:"value"`
		}{row.Path, row.Flags, base64.StdEncoding.EncodeToString(row.Value)}, "\t", "\t")
		if err != nil {
			return err
		}
		_, _ = out.WriteString(next)
		_, _ = out.Write(b)
		next, end = ",\n\t", "\n]\n"
	}
	_, _ = out.WriteString(end)
	return out.Flush()
}
