package difftest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

const indexHeader = "X-Consul-Index"

// notCompared tells why a header is not.
func notCompared(name string) string {
	switch name {
	case "Date":
		return "it is the time"
	case "Content-Length":
		return "it follows from the body, in which an index may have another number of digits"
	case "Connection":
		return "it is of one hop: whether a body that was refused was read to its end"
	}
	return ""
}

// compare tells the first difference between two answers of the same request.
func (r *relation) compare(ref, sub answer) error {
	if ref.err != nil || sub.err != nil {
		if closed(ref.err) && closed(sub.err) {
			return nil // neither answers such a request
		}
		return fmt.Errorf("the reference: %w; the subject: %w", orAnswered(ref.err), orAnswered(sub.err))
	}
	if ref.status != sub.status {
		return fmt.Errorf("status %d is %d", ref.status, sub.status)
	}
	if err := r.headers(ref, sub); err != nil {
		return err
	}
	return r.bodies(ref, sub)
}

// closed reports whether a server ended the connection in place of an answer.
func closed(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

func orAnswered(err error) error {
	if err == nil {
		return errors.New("answered")
	}
	return err
}

func (r *relation) headers(ref, sub answer) error {
	names := slices.Concat(slices.Collect(maps.Keys(ref.header)), slices.Collect(maps.Keys(sub.header)))
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		if notCompared(name) != "" {
			continue
		}
		a, b := ref.header[name], sub.header[name]
		if name == "Location" && len(a) == 1 && len(b) == 1 { // it has the query that was sent, with that server's indexes and ids
			a, b = []string{strings.TrimSuffix(a[0], ref.query())}, []string{strings.TrimSuffix(b[0], sub.query())}
		}
		if name == indexHeader && len(a) == 1 && len(b) == 1 {
			if err := r.number(a[0], b[0]); err != nil {
				return fmt.Errorf("header %s: %w", name, err)
			}
			continue
		}
		if !slices.Equal(a, b) {
			return fmt.Errorf("header %s: %q is %q", name, a, b)
		}
	}
	return nil
}

func (r *relation) number(ref, sub string) error {
	a, errA := strconv.ParseUint(ref, 10, 64)
	b, errB := strconv.ParseUint(sub, 10, 64)
	if err := errors.Join(errA, errB); err != nil {
		return err
	}
	return r.index(a, b)
}

// bodies are the same bytes, but for indexes (in JSON) and ids.
func (r *relation) bodies(ref, sub answer) error {
	var err error
	if ref.body, err = byAge(ref.body); err != nil {
		return fmt.Errorf("the reference: %w", err)
	}
	if sub.body, err = byAge(sub.body); err != nil {
		return fmt.Errorf("the subject: %w", err)
	}
	a, b := dissect(ref), dissect(sub)
	if !slices.Equal(a.rest, b.rest) {
		return fmt.Errorf("the body differs: %s", firstDifference(strings.Join(a.rest, "<own>"), strings.Join(b.rest, "<own>")))
	}
	for i := range a.own {
		var err error
		switch a.kinds[i] {
		case anID:
			err = r.id(a.own[i], b.own[i])
		case anIndex:
			err = r.number(a.own[i], b.own[i])
		case anEcho:
			if a.own[i] != b.own[i] && (!strings.Contains(ref.sent, a.own[i]) || !strings.Contains(sub.sent, b.own[i])) {
				err = fmt.Errorf("an index that was not sent: %s, %s", a.own[i], b.own[i])
			}
		}
		if err != nil {
			return fmt.Errorf("in the body: %w", err)
		}
	}
	return nil
}

// byAge puts a list of sessions into the order in which they were made. Servers
// list them by their ids, which are random: that it is so is looked at here.
// Other bodies stay as they are.
func byAge(body []byte) ([]byte, error) {
	type session struct {
		ID          string
		CreateIndex uint64
		raw         json.RawMessage
	}
	var all []json.RawMessage
	if !bytes.HasPrefix(body, []byte("[")) || !bytes.Contains(body, []byte(`"LockDelay":`)) {
		return body, nil
	}
	if err := json.Unmarshal(body, &all); err != nil {
		return nil, err
	}
	var sessions []session
	for _, raw := range all {
		s := session{raw: raw}
		if err := json.Unmarshal(raw, &s); err != nil {
			return nil, err
		}
		if n := len(sessions); n > 0 && sessions[n-1].ID >= s.ID {
			return nil, fmt.Errorf("session %s is listed after %s", s.ID, sessions[n-1].ID)
		}
		sessions = append(sessions, s)
	}
	slices.SortFunc(sessions, func(a, b session) int { return cmp.Compare(a.CreateIndex, b.CreateIndex) })
	around := body
	var out []byte
	for i, raw := range all { // what is between them stays in its place
		before, after, _ := bytes.Cut(around, raw)
		out = append(append(out, before...), sessions[i].raw...)
		around = after
	}
	return append(out, around...), nil
}

// parts are a body, taken apart into what is the server's own and the rest
// around it.
type parts struct {
	own   []string
	kinds []kind
	rest  []string
}

type kind int

const (
	anID kind = iota
	anIndex
	anEcho // an index that the client had sent
)

var (
	idPattern  = regexp.MustCompile(`\b([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})\b`)
	ownPattern = regexp.MustCompile(idPattern.String() + `|"(?:Create|Modify)Index": ?([0-9]+)|current modify index ([0-9]+) != ([0-9]+)`)
)

func dissect(a answer) parts {
	pattern := idPattern
	if strings.HasPrefix(a.header.Get("Content-Type"), "application/json") {
		pattern = ownPattern
	}
	kinds := []kind{anID, anIndex, anIndex, anEcho} // of the pattern's groups
	var p parts
	last := 0
	for _, at := range pattern.FindAllSubmatchIndex(a.body, -1) {
		for group := 1; 2*group < len(at); group++ {
			start, end := at[2*group], at[2*group+1]
			if start < 0 {
				continue
			}
			p.rest = append(p.rest, string(a.body[last:start]))
			p.own = append(p.own, string(a.body[start:end]))
			p.kinds = append(p.kinds, kinds[group-1])
			last = end
		}
	}
	p.rest = append(p.rest, string(a.body[last:]))
	return p
}

// firstDifference shows both around the first byte that is not the same.
func firstDifference(a, b string) string {
	at := 0
	for at < len(a) && at < len(b) && a[at] == b[at] {
		at++
	}
	show := func(s string) string {
		return strconv.Quote(s[max(0, min(at-60, len(s))):min(len(s), at+120)])
	}
	return fmt.Sprintf("at byte %d, %s is %s", at, show(a), show(b))
}
