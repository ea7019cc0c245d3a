package difftest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

const indexHeader = "X-Consul-Index"

// answer is the answer to one request, as a client sees it. With err there was none.
type answer struct {
	sent   string // target, a space and body
	status int
	header http.Header
	body   []byte
	err    error
}

// String is the answer for people, its end cut off.
func (a answer) String() string {
	if a.err != nil {
		return a.err.Error()
	}
	return fmt.Sprintf("%d %v %s", a.status, a.header, strconv.Quote(string(a.body[:min(len(a.body), 2000)])))
}

func (a answer) index() uint64 {
	n, err := strconv.ParseUint(a.header.Get(indexHeader), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func (a answer) isList() bool {
	target, _, _ := strings.Cut(a.sent, " ")
	return strings.Contains(target, "recurse") || strings.Contains(target, "keys")
}

func (a answer) isJSON() bool {
	return strings.HasPrefix(a.header.Get("Content-Type"), "application/json")
}

// compare returns the first difference between two answers of the same request.
func (r *relation) compare(ref, sub answer) error {
	if err := errors.Join(ref.err, sub.err); err != nil {
		return fmt.Errorf("no answer: %w", err)
	}
	if ref.status != sub.status {
		return fmt.Errorf("status %d is %d", ref.status, sub.status)
	}
	for _, name := range []string{"X-Consul-Knownleader", "X-Consul-Lastcontact"} {
		a, b := ref.header.Values(name), sub.header.Values(name)
		if ref.index() != 0 && !slices.Equal(a, b) { // clients read it in the answer to a query
			return fmt.Errorf("header %s: %q is %q", name, a, b)
		}
	}
	if a, b := ref.header.Get(indexHeader), sub.header.Get(indexHeader); (a == "") != (b == "") {
		return fmt.Errorf("header %s: %q is %q", indexHeader, a, b)
	}
	if !ref.isList() { // the index of a list only has to grow with each change of it
		if err := r.index(ref.index(), sub.index()); err != nil {
			return fmt.Errorf("header %s: %w", indexHeader, err)
		}
	}
	switch {
	case ref.status != http.StatusOK && ref.status != http.StatusConflict:
		return nil // the text of an error is for people
	case ref.isJSON() != sub.isJSON():
		return fmt.Errorf("header Content-Type: %q is %q", ref.header.Get("Content-Type"), sub.header.Get("Content-Type"))
	case ref.isJSON():
		return r.bodies(ref, sub)
	case !bytes.Equal(ref.body, sub.body):
		return errors.New("the body differs")
	}
	return nil
}

// bodies compares JSON values.
func (r *relation) bodies(ref, sub answer) error {
	var a, b any
	for _, one := range []struct {
		answer
		into *any
	}{{ref, &a}, {sub, &b}} {
		dec := json.NewDecoder(bytes.NewReader(one.body))
		dec.UseNumber()
		if err := dec.Decode(one.into); err != nil {
			return fmt.Errorf("not JSON: %w", err)
		}
	}
	for _, body := range []any{a, b} {
		if txn, ok := body.(map[string]any); ok { // clients ignore the rest of a result of a read
			maps.DeleteFunc(txn, func(name string, _ any) bool { return name != "Results" && name != "Errors" })
		}
	}
	return r.values("", a, b)
}

func (r *relation) values(name string, ref, sub any) error {
	wrong := fmt.Errorf("%s: %.200q is %.200q", name, fmt.Sprint(ref), fmt.Sprint(sub))
	switch a := ref.(type) {
	case map[string]any:
		b, ok := sub.(map[string]any)
		if !ok || !slices.Equal(slices.Sorted(maps.Keys(a)), slices.Sorted(maps.Keys(b))) {
			return wrong
		}
		for _, field := range slices.Sorted(maps.Keys(a)) {
			if err := r.values(field, a[field], b[field]); err != nil {
				return err
			}
		}
	case []any:
		b, ok := sub.([]any)
		if !ok || len(a) != len(b) {
			return wrong
		}
		for i := range a {
			if err := r.values(name, a[i], b[i]); err != nil {
				return err
			}
		}
	case json.Number:
		b, ok := sub.(json.Number)
		if ok && (name == "CreateIndex" || name == "ModifyIndex") {
			x, errA := strconv.ParseUint(a.String(), 10, 64)
			y, errB := strconv.ParseUint(b.String(), 10, 64)
			return errors.Join(errA, errB, r.index(x, y))
		}
		if a != sub {
			return wrong
		}
	case string:
		b, ok := sub.(string)
		if ok && name == "What" {
			return reasons(a, b)
		}
		if a != sub {
			return wrong
		}
	default:
		if ref != sub {
			return wrong
		}
	}
	return nil
}

// reasons are texts, but for the indexes in them.
func reasons(ref, sub string) error {
	index := regexp.MustCompile(`[0-9]+ != [0-9]+`)
	if index.ReplaceAllString(ref, "") != index.ReplaceAllString(sub, "") {
		return fmt.Errorf("What: %q is %q", ref, sub)
	}
	return nil
}
