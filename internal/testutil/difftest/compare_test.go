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
		if ref.status != http.StatusConflict && !slices.Equal(a, b) { // a failure says false, though it has a leader
			return fmt.Errorf("header %s: %q is %q", name, a, b)
		}
	}
	if a, b := ref.header.Get(indexHeader), sub.header.Get(indexHeader); (a == "") != (b == "") {
		return fmt.Errorf("header %s: %q is %q", indexHeader, a, b)
	}
	if err := r.index(ref.index(), sub.index()); err != nil {
		return fmt.Errorf("header %s: %w", indexHeader, err)
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
	return r.values("", a, b, ref.sent, sub.sent)
}

func (r *relation) values(name string, ref, sub any, refSent, subSent string) error {
	wrong := fmt.Errorf("%s: %.200q is %.200q", name, fmt.Sprint(ref), fmt.Sprint(sub))
	switch a := ref.(type) {
	case map[string]any:
		b, ok := sub.(map[string]any)
		if !ok || !slices.Equal(slices.Sorted(maps.Keys(a)), slices.Sorted(maps.Keys(b))) {
			return wrong
		}
		for _, field := range slices.Sorted(maps.Keys(a)) {
			if err := r.values(field, a[field], b[field], refSent, subSent); err != nil {
				return err
			}
		}
	case []any:
		b, ok := sub.([]any)
		if !ok || len(a) != len(b) {
			return wrong
		}
		for i := range a {
			if err := r.values(name, a[i], b[i], refSent, subSent); err != nil {
				return err
			}
		}
	case json.Number:
		b, ok := sub.(json.Number)
		if ok && (name == "CreateIndex" || name == "ModifyIndex") {
			return r.numbers(a.String(), b.String(), refSent, subSent)
		}
		if a != sub {
			return wrong
		}
	case string:
		b, ok := sub.(string)
		if ok && name == "What" {
			return r.reasons(a, b, refSent, subSent)
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

// numbers are indexes, each the server's own or the one that it was sent.
func (r *relation) numbers(ref, sub, refSent, subSent string) error {
	a, errA := strconv.ParseUint(ref, 10, 64)
	b, errB := strconv.ParseUint(sub, 10, 64)
	if err := errors.Join(errA, errB); err != nil {
		return err
	}
	echo := func(n, sent string) bool { return regexp.MustCompile(`"Index":` + n + `\b`).MatchString(sent) }
	if echo(ref, refSent) && echo(sub, subSent) {
		return nil
	}
	return r.index(a, b)
}

// reasons are texts, but for the indexes in them.
func (r *relation) reasons(ref, sub, refSent, subSent string) error {
	index := regexp.MustCompile(`current modify index ([0-9]+) != ([0-9]+)`)
	a, b := index.FindStringSubmatch(ref), index.FindStringSubmatch(sub)
	if index.ReplaceAllString(ref, "") != index.ReplaceAllString(sub, "") || len(a) != len(b) {
		return fmt.Errorf("What: %q is %q", ref, sub)
	}
	for i := range a[min(1, len(a)):] {
		if err := r.numbers(a[i+1], b[i+1], refSent, subSent); err != nil {
			return err
		}
	}
	return nil
}
