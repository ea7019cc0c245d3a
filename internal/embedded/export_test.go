package embedded

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"kvexpress/internal/kv"
)

func kvRow(path, value string, flags uint64) kv.Row {
	return kv.Row{Path: path, Entry: kv.Entry{State: kv.Present, Value: []byte(value), Flags: flags}}
}

// likeConsul is what `consul kv export` prints, made as it makes it: with the fields of
// its entries, in their order, and Go's indented JSON.
func likeConsul(t testing.TB, rows []kv.Row) string {
	type entry struct {
		Key       string `json:"key"`
		Flags     uint64 `json:"flags"`
		Value     string `json:"value"`
		Namespace string `json:"namespace,omitempty"`
		Partition string `json:"partition,omitempty"`
	}
	all := make([]entry, len(rows))
	for i, r := range rows {
		all[i] = entry{Key: r.Path, Flags: r.Flags, Value: base64.StdEncoding.EncodeToString(r.Value)}
	}
	b, err := json.MarshalIndent(all, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	return string(b) + "\n"
}

func wantSame(t interface {
	Helper()
	Fatalf(string, ...any)
}, got, want []kv.Row) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d rows come back, want %d", len(got), len(want))
	}
	for i, r := range got {
		w := want[i]
		if r.Path != w.Path || !bytes.Equal(r.Value, w.Value) || r.Flags != w.Flags || r.State != kv.Present {
			t.Fatalf("row %d comes back as %q, %d bytes, flags %d, state %d; want %q, %d bytes, flags %d",
				i, r.Path, len(r.Value), r.Flags, r.State, w.Path, len(w.Value), w.Flags)
		}
	}
}

func TestExportFormat(t *testing.T) {
	for name, rows := range map[string][]kv.Row{
		"none": {},
		"one":  {kvRow("a", "1", 0)},
		"all kinds": {
			kvRow("a", "", 0), kvRow("a/", "folder", 1), kvRow("a/<b>&\u2028\"\\", "\x00\xff", math.MaxUint64), kvRow("\u00fc/\U0001f600", "x", 7),
		},
	} {
		var b bytes.Buffer
		if err := WriteExport(&b, rows); err != nil {
			t.Fatal(err)
		}
		if want := likeConsul(t, rows); b.String() != want {
			t.Errorf("%s: it is written as\n%q\nwhere Consul writes\n%q", name, b.String(), want)
		}
		back, err := ReadExport(iotest.OneByteReader(&b), Destination{})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		wantSame(t, back, rows)
	}
}

// An export of any rows can be read back.
func TestExportRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		paths := rapid.SliceOfDistinct(rapid.StringMatching(`[a-zü<"\\. ]{0,6}[a-z/]{0,2}x/?`), rapid.ID).Draw(t, "paths")
		var rows []kv.Row
		for _, path := range paths {
			if badKey(path) == "" {
				rows = append(rows, kvRow(path, string(rapid.SliceOf(rapid.Byte()).Draw(t, "value")), rapid.Uint64().Draw(t, "flags")))
			}
		}
		rows, err := inOrder(rows)
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := WriteExport(&b, rows); err != nil {
			t.Fatal(err)
		}
		back, err := ReadExport(&b, Destination{})
		if err != nil {
			t.Fatal(err)
		}
		wantSame(t, back, rows)
	})
}

// ReadExport also reads what only Consul's import accepts.
func TestReadExportTakes(t *testing.T) {
	got, err := ReadExport(strings.NewReader(` [ {"Value":null,"Key":"b/","Flags":18446744073709551615,"LockIndex":0,"Session":{"x":[]}},`+
		`{"key":"a","value":"AA==","namespace":"default","partition":"default"}] `), Destination{})
	if err != nil {
		t.Fatal(err)
	}
	wantSame(t, got, []kv.Row{kvRow("a", "\x00", 0), kvRow("b/", "", math.MaxUint64)})

	got, err = ReadExport(strings.NewReader(`[{"key":"a/","value":"","namespace":"team","partition":"one"}]`),
		Destination{Prefix: "x/y", Namespace: "team", Partition: "one"})
	if err != nil {
		t.Fatal(err)
	}
	wantSame(t, got, []kv.Row{kvRow("x/y/a/", "", 0)})
}

func TestReadExportRefuses(t *testing.T) {
	one := func(fields string) string { return `[{"key":"first","flags":0,"value":""},{` + fields + `}]` }
	for name, test := range map[string]struct {
		text string
		row  int
		want string
	}{
		"nothing":                {"", 0, "not a list"},
		"no JSON":                {"key: a", 0, "not a list"},
		"another value":          {`{"key":"a"}`, 0, "not a list"},
		"null":                   {"null", 0, "not a list"},
		"cut off in a row":       {`[{"key":"a","value":"`, 0, "unexpected end"},
		"cut off after a row":    {`[{"key":"a","value":""}`, 0, "unexpected end"},
		"more after it":          {`[] []`, 0, "after top-level value"},
		"a number":               {`[5]`, 1, "it is a number"},
		"a null row":             {`[null]`, 1, "has no key"},
		"no key":                 {one(`"value":""`), 2, "has no key"},
		"an empty key":           {one(`"key":"","value":""`), 2, "has no key"},
		"a null key":             {one(`"key":null,"value":""`), 2, "has no key"},
		"a key of another type":  {one(`"key":7,"value":""`), 2, "its key cannot be number"},
		"no value":               {one(`"key":"a"`), 2, "no value in base64"},
		"a value of other type":  {one(`"key":"a","value":7`), 2, "no value in base64"},
		"no base64":              {one(`"key":"a","value":"a"`), 2, "not base64"},
		"base64 of URLs":         {one(`"key":"a","value":"_-=="`), 2, "not base64"},
		"flags below 0":          {one(`"key":"a","flags":-1,"value":""`), 2, "its flags cannot be number -1"},
		"flags above 64 bits":    {one(`"key":"a","flags":18446744073709551616,"value":""`), 2, "its flags cannot be"},
		"twice":                  {one(`"key":"first","value":""`), 0, `key "first": it occurs twice`},
		"a slash first":          {one(`"key":"/a","value":""`), 2, "begins with a slash"},
		"two slashes":            {one(`"key":"a//b","value":""`), 2, "between slashes"},
		"two slashes at the end": {one(`"key":"a//","value":""`), 2, "between slashes"},
		"dots":                   {one(`"key":"../a","value":""`), 2, "between slashes"},
		"dots at the end":        {one(`"key":"a/..","value":""`), 2, "between slashes"},
		"dots alone":             {one(`"key":"..","value":""`), 2, "between slashes"},
		"a dot":                  {one(`"key":"a/./b","value":""`), 2, "between slashes"},
		"a dot alone":            {one(`"key":".","value":""`), 2, "is a dot"},
		"a space at the end":     {one(`"key":"a ","value":""`), 2, "with a space"},
		"not UTF-8":              {one(`"key":"a` + "\xff" + `","value":""`), 2, "not UTF-8"},
		"half a character":       {one(`"key":"a\uD800","value":""`), 2, "not UTF-8"},
		"another namespace":      {one(`"key":"a","value":"","namespace":"team"`), 2, "CONSUL_NAMESPACE"},
		"another partition":      {one(`"key":"a","value":"","partition":"team"`), 2, "CONSUL_PARTITION"},
		"too large a value": {one(`"key":"a","value":"` + base64.StdEncoding.EncodeToString(make([]byte, kv.MaxValue+1)) + `"`),
			2, "524289 bytes, at most 524288"},
		"too deep": {`[{"key":"a","value":"","x":` + strings.Repeat("[", 20000), 0, "max depth"},
	} {
		rows, err := ReadExport(strings.NewReader(test.text), Destination{})
		var bad *ExportError
		if !errors.As(err, &bad) || bad.Row != test.row || !strings.Contains(err.Error(), test.want) || rows != nil {
			t.Errorf("%s: %d rows and %v, want none and row %d: %s", name, len(rows), err, test.row, test.want)
		}
	}
}

// A reader that fails is not a bad export, and one that never ends is cut off.
func TestReadExportReaders(t *testing.T) {
	broken := errors.New("the disk is on fire")
	var bad *ExportError
	_, err := ReadExport(io.MultiReader(strings.NewReader(`[{"key":"a"`), iotest.ErrReader(broken)), Destination{})
	if !errors.Is(err, broken) || errors.As(err, &bad) {
		t.Errorf("a broken reader gives %v", err)
	}
	const most = 1 << 20
	long := func(size int) io.Reader {
		begin, end := `[{"key":"a","value":"","x":"`, `"}]`
		return strings.NewReader(begin + strings.Repeat("x", size-len(begin)-len(end)) + end)
	}
	if rows, err := readExport(long(most), Destination{}, most); err != nil || len(rows) != 1 {
		t.Errorf("as much as is allowed gives %d rows and %v", len(rows), err)
	}
	if _, err := readExport(long(most+1), Destination{}, most); !errors.As(err, &bad) || !strings.Contains(err.Error(), "more than 1 MiB") {
		t.Errorf("a byte too many gives %v", err)
	}
}

func FuzzReadExport(f *testing.F) {
	for _, seed := range []string{
		`[]`, `[{"key":"a","flags":0,"value":""}]`,
		`[{"key":"a/\u00fc","flags":18446744073709551615,"value":"AP8="},{"key":"b","value":null}]`,
		`[{"key":"\ud800","value":""}]`, `[{"key":"a","value":""},{"key":"a","value":""}]`, "[{\"key\":\"\xff\",\"value\":\"\"}]",
		`[null]`, `[[`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		rows, err := ReadExport(bytes.NewReader(text), Destination{})
		if err != nil {
			var bad *ExportError
			if !errors.As(err, &bad) || rows != nil || strings.ContainsAny(err.Error(), "\n\x1b\x00") {
				t.Errorf("%q gives %d rows and %q", text, len(rows), err)
			}
			return
		}
		// Consul's own import reads it as well, and reads the same.
		var theirs []struct{ Key, Value string }
		if err := json.Unmarshal(text, &theirs); err != nil || len(theirs) != len(rows) {
			t.Fatalf("%q: Consul reads %d rows, and %v", text, len(theirs), err)
		}
		byKey := map[string]string{}
		for _, r := range theirs {
			byKey[r.Key] = r.Value
		}
		for _, r := range rows {
			value, err := base64.StdEncoding.DecodeString(byKey[r.Path])
			if err != nil || !bytes.Equal(value, r.Value) {
				t.Errorf("%q: Consul reads %q for %q, %v", text, value, r.Path, err)
			}
		}
		var b bytes.Buffer
		if err := WriteExport(&b, rows); err != nil {
			t.Fatal(err)
		}
		if b.String() != likeConsul(t, rows) {
			t.Errorf("%q is written as %q", text, b.String())
		}
		again, err := ReadExport(&b, Destination{})
		if err != nil {
			t.Fatal(err)
		}
		wantSame(t, again, rows)
	})
}
