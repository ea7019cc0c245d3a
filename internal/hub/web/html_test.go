package web

import (
	"html"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/cli/render"
)

// A text can become neither a tag nor an attribute, and a browser shows it as it is.
func FuzzEscape(f *testing.F) {
	for _, s := range []string{`"><script>hit()</script>`, "' onerror=hit() x='", "&lt;&amp;&#34;", "%s %d %", "a\nb\x00\u202e", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for want, v := range map[string]any{s: block(s), render.Line(s): s} {
			if got := string(h(`%s`, v)); strings.ContainsAny(got, `<>"'`) || html.UnescapeString(got) != want {
				t.Errorf("%q becomes %q", v, got)
			}
		}
		usual := pagesWith("x")
		for i, page := range pagesWith("x" + s) {
			if got, want := tags(page), tags(usual[i]); !slices.Equal(got, want) {
				t.Errorf("page %d with %q has the tags\n%q, want\n%q", i, s, got, want)
			}
			if !strings.Contains(s, "!") && strings.Contains(string(page), "%!") {
				t.Errorf("page %d with %q has a wrong format: %s", i, s, page)
			}
		}
	})
}

// pagesWith are all pages, with the same text wherever there is one.
func pagesWith(text string) []markup {
	bodies := []any{&fleetBody{}, &nodesBody{}, &keyBody{}, &nodeBody{}, &nodeBody{}, &historyBody{}, &shown{}}
	for _, b := range bodies {
		fill(reflect.ValueOf(b).Elem(), text)
	}
	bodies[4].(*nodeBody).Why = ""
	fleetRows := slices.Repeat(bodies[0].(*fleetBody).Table.Rows, 2)
	fleetRows[0].Why = ""
	bodies[0].(*fleetBody).Table.Rows = fleetRows
	nodeRows := slices.Repeat(bodies[1].(*nodesBody).Table.Rows, 2)
	nodeRows[0].Why = ""
	bodies[1].(*nodesBody).Table.Rows = nodeRows
	known := *bodies[2].(*keyBody).Rollout
	known.Why = ""
	var all []markup
	for _, b := range bodies[:6] {
		all = append(all, b.(interface{ markup() markup }).markup())
	}
	page := bodies[6].(*shown)
	page.Body = loginMarkup(text, text) + errorMarkup(text, text)
	notIn := *page
	notIn.LoggedIn = false
	return append(all, known.markup(), page.page(), notIn.page())
}

// fill puts a text, or 2, into each field.
func fill(v reflect.Value, text string) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Int, reflect.Int64:
		v.SetInt(2)
	case reflect.Uint64:
		v.SetUint(2)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), text)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), text)
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Unix(1, 0)))
			return
		}
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() || f.Anonymous {
				fill(v.Field(i), text)
			}
		}
	case reflect.Map: // outcomes
	default:
	}
}

// tags are the tags of a page, without the values of attributes.
func tags(page markup) []string {
	all := regexp.MustCompile(`<[^>]*>`).FindAllString(string(page), -1)
	for i, tag := range all {
		all[i] = regexp.MustCompile(`"[^"]*"`).ReplaceAllString(tag, `""`)
	}
	return all
}

// Only html.go makes markup of what is no constant.
func TestMarkupIsConstant(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) < 10 {
		t.Fatal(files, err)
	}
	for _, name := range files {
		if name == "html.go" || strings.HasSuffix(name, "_test.go") {
			continue
		}
		source, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, bad := range regexp.MustCompile("[^.\\w]markup\\([^)\"`].*").FindAllString(string(source), -1) {
			t.Errorf("%s: %s: give the value to h, which escapes it", name, bad)
		}
	}
}
