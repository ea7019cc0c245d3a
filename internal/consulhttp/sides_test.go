package consulhttp_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"
)

// step is one request of a table, put to both sides. In the path and the body, {index:NAME} is the index that the
// answer of the step called NAME had, and {session:NAME} the id that it made.
type step struct {
	name    string // may be empty
	method  string // GET if empty
	path    string
	header  map[string]string
	body    string
	chunked bool                     // the length of the body is not told
	differ  map[string]string        // headers that are meant to differ here, and why
	body2   func(body string) string // what of both bodies is compared; all if nil
}

// side is one of the two servers of a comparison, and what it has answered so far.
type side struct {
	t        testing.TB
	base     string
	indexes  map[string]string // by the names of steps
	sessions map[string]string
}

func newSide(t testing.TB, addr string) *side {
	return &side{t: t, base: "http://" + addr, indexes: map[string]string{}, sessions: map[string]string{}}
}

// reply is an answer, in a form that can be compared.
type reply struct {
	status  int
	header  http.Header
	body    string
	length  bool // its length was told before it
	zipped  bool
	indexes []string // all indexes in it, in order
}

func client() *http.Client {
	return &http.Client{
		Transport:     &http.Transport{DisableCompression: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       30 * time.Second,
	}
}

var (
	placeholder = regexp.MustCompile(`\{(index|session):([^}]+)\}`)
	indexInBody = regexp.MustCompile(`("(?:Create|Modify)Index": ?|current modify index )(\d+)`)
	sessionID   = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
)

func (s *side) fill(text string) string {
	return placeholder.ReplaceAllStringFunc(text, func(found string) string {
		m := placeholder.FindStringSubmatch(found)
		known := s.indexes
		if m[1] == "session" {
			known = s.sessions
		}
		value, ok := known[m[2]]
		if !ok {
			s.t.Errorf("%s: no step before has %s", s.base, found)
		}
		return value
	})
}

// do sends a step.
func (s *side) do(ctx context.Context, st step) (reply, error) {
	method := st.method
	if method == "" {
		method = http.MethodGet
	}
	var body io.Reader = strings.NewReader(s.fill(st.body))
	if st.chunked {
		body = io.MultiReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, s.base, body)
	if err != nil {
		return reply{}, err
	}
	// As it is, since url.Parse would refuse or clean what is asked on purpose.
	path, query, _ := strings.Cut(s.fill(st.path), "?")
	req.URL.Opaque, req.URL.RawQuery = "//"+req.URL.Host+path, query
	for name, value := range st.header {
		req.Header.Set(name, value)
	}
	resp, err := client().Do(req)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	r := reply{status: resp.StatusCode, header: resp.Header, length: resp.ContentLength >= 0}
	var from io.Reader = resp.Body
	if r.zipped = resp.Header.Get("Content-Encoding") == "gzip"; r.zipped {
		if from, err = gzip.NewReader(resp.Body); err != nil {
			return reply{}, err
		}
	}
	var all bytes.Buffer
	if _, err := io.Copy(&all, from); err != nil {
		return reply{}, err
	}
	r.body = all.String()
	s.learn(st, &r)
	return r, nil
}

// learn takes indexes and ids out of an answer, so that what remains can be compared.
func (s *side) learn(st step, r *reply) {
	if index := r.header.Get("X-Consul-Index"); index != "" {
		r.indexes = append(r.indexes, index)
		s.indexes[st.name] = index
		r.header.Set("X-Consul-Index", "N")
	}
	r.body = indexInBody.ReplaceAllStringFunc(r.body, func(found string) string {
		m := indexInBody.FindStringSubmatch(found)
		r.indexes = append(r.indexes, m[2])
		return m[1] + "N"
	})
	if id := sessionID.FindString(r.body); id != "" && strings.HasPrefix(st.path, "/v1/session/create") {
		s.sessions[st.name] = id
	}
	for name, id := range s.sessions {
		r.body = strings.ReplaceAll(r.body, id, "session "+name)
	}
	r.header.Del("Date")
	r.header.Del("Content-Length") // indexes have other numbers of digits; see reply.length
}

// pairs holds that each index of the one side stands for one of the other.
type pairs struct{ there, back map[string]string }

func newPairs() *pairs {
	return &pairs{there: map[string]string{"0": "0", "1": "1"}, back: map[string]string{"0": "0", "1": "1"}}
}

func (p *pairs) match(a, b []string) error {
	if len(a) != len(b) {
		return fmt.Errorf("indexes %v and %v", a, b)
	}
	for i := range a {
		if p.there[a[i]] == "" && p.back[b[i]] == "" {
			p.there[a[i]], p.back[b[i]] = b[i], a[i]
		}
		if p.there[a[i]] != b[i] || p.back[b[i]] != a[i] {
			return fmt.Errorf("index %s stands for %s, and came with %s", a[i], p.there[a[i]], b[i])
		}
	}
	return nil
}

// compare puts the steps to both sides and reports each difference.
func compare(t *testing.T, consul, ours *side, steps []step) {
	t.Helper()
	known := newPairs()
	for i, st := range steps {
		what := fmt.Sprintf("step %d: %s %s %.80s", i, st.method, st.path, st.body)
		want, err := consul.do(t.Context(), st)
		if err != nil {
			t.Fatalf("%s: Consul: %v", what, err)
		}
		got, err := ours.do(t.Context(), st)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if got.status != want.status {
			t.Errorf("%s: status %d, Consul has %d", what, got.status, want.status)
		}
		if st.body2 != nil {
			got.body, want.body = st.body2(got.body), st.body2(want.body)
		}
		if got.body != want.body {
			t.Errorf("%s: body\n%.600q\nConsul has\n%.600q", what, got.body, want.body)
		}
		if got.length != want.length {
			t.Errorf("%s: length told: %v, by Consul: %v", what, got.length, want.length)
		}
		if err := known.match(want.indexes, got.indexes); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		for name := range st.differ {
			got.header.Del(name)
			want.header.Del(name)
		}
		for name := range want.header {
			if got.header.Get(name) != want.header.Get(name) {
				t.Errorf("%s: header %s is %q, in Consul %q", what, name, got.header.Values(name), want.header.Values(name))
			}
		}
		for name := range got.header {
			if _, ok := want.header[name]; !ok {
				t.Errorf("%s: header %s: %q, which Consul does not send", what, name, got.header.Values(name))
			}
		}
	}
}
