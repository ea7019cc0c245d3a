package difftest

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
)

// nobody is the id of a session that never was.
const nobody = "00000000-0000-4000-8000-000000000000"

// expand fills the placeholders of a step in, for each of the servers.
func (r *run) expand(ctx context.Context, at int, s Step) (ref, sub Step, err error) {
	ref, sub = s, s
	if ref.Target, sub.Target, err = r.fill(ctx, at, s.Target); err != nil {
		return ref, sub, err
	}
	if ref.Header, sub.Header, err = r.fill(ctx, at, s.Header); err != nil {
		return ref, sub, err
	}
	ref.Body, sub.Body, err = r.fill(ctx, at, s.Body)
	return ref, sub, err
}

var placeholder = regexp.MustCompile(`\{(s|b64:)([0-9]+)\}|\{(mod|idx)(-1)?:([^{}]*)\}`)

func (r *run) fill(ctx context.Context, at int, text string) (ref, sub string, err error) {
	if !strings.Contains(text, "{") {
		return text, text, nil
	}
	text = strings.ReplaceAll(text, "{p}", r.prefix)
	var a, b strings.Builder
	last := 0
	for _, m := range placeholder.FindAllStringSubmatchIndex(text, -1) {
		group := func(i int) string {
			if m[2*i] < 0 {
				return ""
			}
			return text[m[2*i]:m[2*i+1]]
		}
		a.WriteString(text[last:m[0]])
		b.WriteString(text[last:m[0]])
		last = m[1]
		var x, y string
		switch n, _ := strconv.Atoi(group(2)); group(1) + group(3) {
		case "s":
			x, y = r.session(n)
		case "b64:":
			x = base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("x"), n))
			y = x
		default:
			x, y, err = r.number(ctx, at, group(3), group(5), group(4) != "")
		}
		if err != nil {
			return "", "", err
		}
		a.WriteString(x)
		b.WriteString(y)
	}
	return a.String() + text[last:], b.String() + text[last:], nil
}

// session is the n-th that was created.
func (r *run) session(n int) (ref, sub string) {
	if n >= len(r.created) {
		return nobody, nobody
	}
	return r.created[n], r.known.toSub[r.created[n]]
}

// number asks both servers for an index that they have now. The answers are
// compared as those of any step.
func (r *run) number(ctx context.Context, at int, which, of string, less bool) (ref, sub string, err error) {
	s := Step{Method: http.MethodGet, Target: of}
	if which == "mod" {
		s.Target = "/v1/kv/" + of
	}
	a, b := r.both(ctx, s, s)
	if err := r.compared(ctx, at, s, a, b); err != nil {
		return "", "", err
	}
	n := [2]uint64{}
	for i, got := range []answer{a, b} {
		var rows []struct{ ModifyIndex uint64 }
		switch {
		case which == "idx":
			n[i], err = strconv.ParseUint(got.header.Get(indexHeader), 10, 64)
			if err != nil && got.header.Get(indexHeader) == "" {
				n[i], err = 0, nil // an answer without an index: that of an error
			}
		case got.status == http.StatusOK:
			if err = json.Unmarshal(got.body, &rows); err == nil && len(rows) > 0 {
				n[i] = rows[0].ModifyIndex
			}
		}
		if err != nil {
			return "", "", fmt.Errorf("the index that GET %s gives: %w", s.Target, err)
		}
		if less && n[i] > 0 {
			n[i]--
		}
	}
	return strconv.FormatUint(n[0], 10), strconv.FormatUint(n[1], 10), nil
}
