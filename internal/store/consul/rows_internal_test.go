package consul

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
)

// plainly reads a list as encoding/json alone does.
func plainly(body string) ([]row, error) {
	var rows []row
	err := json.NewDecoder(strings.NewReader(body)).Decode(&rows)
	return rows, err
}

func listed(key, value string) string {
	return fmt.Sprintf(`{"LockIndex":0,"Key":%s,"Flags":3,"Value":%s,"CreateIndex":7,"ModifyIndex":9}`, key, value)
}

// uncut is a row whose value is not cut out: its name is written in another way.
func uncut(key, value string) string {
	return strings.Replace(listed(key, value), `"Value"`, `"\u0056alue"`, 1)
}

// However an answer arrives, each row has its own value, as encoding/json reads it.
func TestRowsHaveTheirValues(t *testing.T) {
	long := `"` + base64.StdEncoding.EncodeToString([]byte(strings.Repeat("0123456789", 20_000))) + `"`
	for name, rows := range map[string][]string{
		"none":              {},
		"one":               {listed(`"p/a"`, `"eA=="`)},
		"empty, null":       {listed(`"p/a"`, `""`), listed(`"p/b"`, `null`), listed(`"p/c"`, `"eQ=="`)},
		"none at all":       {`{"Key":"p/a","CreateIndex":1,"ModifyIndex":2}`, listed(`"p/b"`, `"eA=="`)},
		"long":              {listed(`"p/a"`, long), listed(`"p/b"`, `"eA=="`), listed(`"p/c"`, long)},
		"quotes in names":   {listed(`"p/\"Value\":\"eA==\""`, `"eQ=="`), listed(`"p/\\"`, `"eA=="`), listed(`"p/\\\""`, `"eQ=="`)},
		"a key named Value": {listed(`"p/Value"`, `"eA=="`), `{"Key":"p/Value","Value":"eQ==","Session":"Value","CreateIndex":1,"ModifyIndex":2}`},
		"spaces":            {` { "Key" : "p/a" , "Value" : "eA==" , "CreateIndex" : 1, "ModifyIndex" : 2 } `, listed(`"p/b"`, `"eQ=="`)},
		"escapes in a name": {uncut(`"p/a"`, `"eA=="`), listed(`"p/b"`, `"eQ=="`)},
	} {
		t.Run(name, func(t *testing.T) {
			body := "[" + strings.Join(rows, ",") + "]"
			want, err := plainly(body)
			if err != nil {
				t.Fatal(err)
			}
			for how, reader := range map[string]io.Reader{
				"at once": strings.NewReader(body), "byte by byte": iotest.OneByteReader(strings.NewReader(body)),
			} {
				got, err := decodeRows(reader, "p/")
				if err != nil {
					t.Fatalf("%s: %v", how, err)
				}
				if len(got) != len(want) {
					t.Fatalf("%s: %d rows, want %d", how, len(got), len(want))
				}
				for i, w := range want {
					if got[i].Path != w.Key || !reflect.DeepEqual(got[i].Entry, entry(&w)) {
						t.Errorf("%s: row %d is %.100q %.100v, want %.100q %.100v", how, i, got[i].Path, got[i].Entry, w.Key, entry(&w))
					}
				}
			}
		})
	}
}

// What is no list of rows is refused, and nobody's mark is taken for a value.
func TestRowsRefused(t *testing.T) {
	whole := "[" + listed(`"p/a"`, `"eA=="`) + "," + listed(`"p/b"`, `"eQ=="`) + "]"
	for name, body := range map[string]string{
		"not base64":       "[" + listed(`"p/a"`, `"!0"`) + "]",
		"a mark":           "[" + uncut(`"p/a"`, `"!0"`) + "]",
		"another's mark":   "[" + uncut(`"p/a"`, `"!0"`) + "," + listed(`"p/b"`, `"eA=="`) + "]",
		"a mark too many":  "[" + listed(`"p/a"`, `"eA=="`) + "," + uncut(`"p/b"`, `"!0"`) + "]",
		"two values":       `[{"Key":"p/a","Value":"eA==","Value":"eQ==","CreateIndex":1,"ModifyIndex":2},` + listed(`"p/b"`, `"eg=="`) + "]",
		"a line break":     "[" + listed(`"p/a"`, "\"eA\n==\"") + "]",
		"a number":         "[" + listed(`"p/a"`, `5`) + "]",
		"another key":      strings.Replace(whole, "p/b", "q/b", 1),
		"no index":         strings.Replace(whole, `"ModifyIndex":9`, `"ModifyIndex":0`, 1),
		"no list":          listed(`"p/a"`, `"eA=="`),
		"after the values": strings.Replace(whole, `,"CreateIndex"`, `"CreateIndex"`, 1),
	} {
		if rows, err := decodeRows(strings.NewReader(body), "p/"); err == nil {
			t.Errorf("%s: %v, want an error", name, rows)
		}
	}
	for n := range len(whole) {
		if _, err := decodeRows(strings.NewReader(whole[:n]), "p/"); err == nil {
			t.Errorf("cut off after %d bytes: no error", n)
		}
		cut := io.MultiReader(strings.NewReader(whole[:n]), iotest.ErrReader(io.ErrUnexpectedEOF))
		if _, err := decodeRows(cut, "p/"); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("broken off after %d bytes: %v, want the reason", n, err)
		}
	}
}

// What is read is what encoding/json reads.
func FuzzRows(f *testing.F) {
	f.Add("[" + listed(`"p/a"`, `"eA=="`) + "," + listed(`"p/\"Value\":\""`, `null`) + "]")
	f.Add("[" + uncut(`"p/a"`, `"!0"`) + "," + listed(`"p/b"`, `""`) + "]")
	f.Add(`[{"Key":"p/a","Value":"eA==","Value":"eQ==","CreateIndex":1,"ModifyIndex":2}]`)
	f.Fuzz(func(t *testing.T, body string) {
		got, err := decodeRows(strings.NewReader(body), "p/")
		if err != nil || strings.Contains(body, `"!`) { // somebody's own mark
			return
		}
		want, err := plainly(body)
		if err != nil || len(want) != len(got) {
			t.Fatalf("%d rows; encoding/json reads %d: %v", len(got), len(want), err)
		}
		for i, w := range want {
			if got[i].Path != w.Key || !reflect.DeepEqual(got[i].Entry, entry(&w)) {
				t.Errorf("row %d is %q %v, want %q %v", i, got[i].Path, got[i].Entry, w.Key, entry(&w))
			}
		}
	})
}
