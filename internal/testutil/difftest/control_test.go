package difftest

import (
	"bytes"
	"cmp"
	"fmt"
	"hash/fnv"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Two Consuls are the same: what differs would be a fault of this test. And a
// Consul that is a little wrong is found, and what shows it is made small.
func TestConsulAgainstConsul(t *testing.T) {
	t.Parallel()
	ref, sub := consul(t), consul(t)
	t.Run("same behind a proxy", func(t *testing.T) { // which is all that the next ones add, but for their lies
		random(t, servers(t, ref, liar(t, sub, nil, nil)), full(5_000))
	})
	for _, wrong := range []struct {
		name   string
		mostOf int // steps that may be left when it is small
		// patience is shorter where an answer does not come: each trial takes as long.
		patience time.Duration
		lies     func(*http.Request, []byte) bool
		answer   func(*http.Response) error
	}{
		{name: "a header is gone", mostOf: 1, answer: func(a *http.Response) error {
			if a.StatusCode == http.StatusNotFound {
				a.Header.Del("X-Consul-Knownleader")
			}
			return nil
		}},
		{name: "the index of a row is one too high", mostOf: 3, answer: func(a *http.Response) error {
			n, err := strconv.ParseUint(a.Header.Get(indexHeader), 10, 64)
			if q := a.Request.URL.Query(); err == nil && !q.Has("keys") && !q.Has("recurse") {
				a.Header.Set(indexHeader, strconv.FormatUint(n+1, 10))
			}
			return nil
		}},
		{name: "a failed operation has other words", mostOf: 1, answer: func(a *http.Response) error {
			body, err := io.ReadAll(a.Body)
			a.Body = io.NopCloser(bytes.NewReader(bytes.Replace(body, []byte("index is stale"), []byte("index is old"), 1)))
			a.ContentLength = -1
			a.Header.Del("Content-Length")
			return err
		}},
		{name: "a write of five hundred is lost", mostOf: 3, lies: func(r *http.Request, body []byte) bool {
			prefix := regexp.MustCompile(`run[0-9]+`)
			h := fnv.New32a()
			_, _ = io.WriteString(h, r.Method+prefix.ReplaceAllString(r.URL.Path, "")+string(body)) // never fails
			return r.Method == http.MethodPut && strings.HasPrefix(r.URL.Path, "/v1/kv/run") && h.Sum32()%50 == 0
		}},
		{name: "a value that was waited for has another length", mostOf: 3, answer: func(a *http.Response) error {
			q := a.Request.URL.Query()
			if q.Get("wait") == "10m" && q.Has("raw") && a.StatusCode == http.StatusOK {
				a.Body = io.NopCloser(strings.NewReader("x"))
				a.ContentLength = 1
				a.Header.Set("Content-Length", "1")
			}
			return nil
		}},
		{name: "a change wakes no watch", mostOf: 3, patience: 2 * time.Second, lies: func(r *http.Request, _ []byte) bool {
			if q := r.URL.Query(); q.Get("wait") == "10m" && q.Has("raw") {
				<-r.Context().Done()
			}
			return false
		}},
	} {
		t.Run(wrong.name, func(t *testing.T) {
			s := servers(t, ref, liar(t, sub, wrong.lies, wrong.answer))
			s.Patience = cmp.Or(wrong.patience, s.Patience)
			found := &recorder{TB: t}
			found.run(func() { random(found, s, 20_000) })
			if !found.failed {
				t.Fatal("not found")
			}
			steps, small := found.small(t)
			t.Logf("found after %d steps; small:\n%s", s.Steps(), small)
			if steps > wrong.mostOf {
				t.Errorf("%d steps are left of what shows it, want at most %d", steps, wrong.mostOf)
			}
		})
	}
}

// liar is a proxy in front of the server at addr. What lies reports is not sent
// on, and said to be done; answers are as answer leaves them.
func liar(t *testing.T, addr string, lies func(*http.Request, []byte) bool, answer func(*http.Response) error) string {
	t.Helper()
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: addr})
	proxy.Transport = &http.Transport{DisableCompression: true} // else it asks for gzip, and Consul answers that in another way
	proxy.ErrorLog = log.New(io.Discard, "", 0)
	proxy.ModifyResponse = answer
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		if lies != nil && lies(r, body) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte("true")) // the client may have hung up
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	return front.Listener.Addr().String()
}

// recorder takes the place of a test that must fail.
type recorder struct {
	rapid.TB
	failed bool
	logs   []string
}

func (r *recorder) run(f func()) {
	var running sync.WaitGroup
	running.Go(f)
	running.Wait()
}

func (r *recorder) Helper()                        {}
func (r *recorder) Logf(format string, a ...any)   { r.logs = append(r.logs, fmt.Sprintf(format, a...)) }
func (r *recorder) Log(a ...any)                   { r.logs = append(r.logs, fmt.Sprint(a...)) }
func (r *recorder) Errorf(format string, a ...any) { r.Logf(format, a...); r.failed = true }
func (r *recorder) Error(a ...any)                 { r.Errorf("%s", fmt.Sprint(a...)) }
func (r *recorder) Fatalf(format string, a ...any) { r.Errorf(format, a...); r.FailNow() }
func (r *recorder) Fatal(a ...any)                 { r.Error(a...); r.FailNow() }
func (r *recorder) Fail()                          { r.failed = true }
func (r *recorder) Failed() bool                   { return r.failed }
func (r *recorder) FailNow()                       { r.failed = true; runtime.Goexit() }

// small is the sequence that was printed to be kept, and how long it is.
func (r *recorder) small(t *testing.T) (int, string) {
	t.Helper()
	for _, log := range r.logs {
		if _, text, ok := strings.Cut(log, "testdata/cases:\n"); ok {
			seq, err := Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			return len(seq), text
		}
	}
	t.Fatalf("no sequence was printed: %q", r.logs)
	return 0, ""
}
