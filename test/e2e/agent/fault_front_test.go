//go:build linux

package agent

import (
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// beats counts events by their time.
type beats struct {
	mu  sync.Mutex
	all []time.Time
}

func (b *beats) add() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.all = append(b.all, time.Now())
}

// since is how many there were from a moment on.
func (b *beats) since(from time.Time) (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, at := range b.all {
		if !at.Before(from) {
			n++
		}
	}
	return n
}

// front is an HTTP proxy in front of Consul that may change or invent answers.
type front struct {
	addr     string
	requests beats
	meddle   atomic.Pointer[meddler]
}

// meddler answers a request, perhaps with the answer of next, the real Consul.
type meddler func(w http.ResponseWriter, r *http.Request, next http.Handler)

// newFront makes one that changes nothing yet.
func newFront(t testing.TB, upstream string) *front {
	t.Helper()
	f := &front{}
	next := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: upstream})
	transport := &http.Transport{DisableKeepAlives: true} // no request fails because of an old connection
	next.Transport, next.ErrorLog = transport, slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.requests.add()
		if m := f.meddle.Load(); m != nil {
			(*m)(w, r, next)
			return
		}
		next.ServeHTTP(w, r)
	}))
	server.Config.ErrorLog = next.ErrorLog
	server.Start()
	f.addr = server.Listener.Addr().String()
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return f
}

// with sets the meddler; nil removes it.
func (f *front) with(m meddler) {
	if m == nil {
		f.meddle.Store(nil)
		return
	}
	f.meddle.Store(&m)
}

// hole makes answers disappear without an error while on, those of requests that are under way too.
// These requests stay without an answer.
func (f *front) hole(on *atomic.Bool) {
	f.with(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		answer := httptest.NewRecorder()
		if !on.Load() {
			next.ServeHTTP(answer, r)
		}
		if on.Load() {
			_, _ = io.Copy(io.Discard, r.Body) // else the end of the connection is not noticed
			<-r.Context().Done()
			return
		}
		maps.Copy(w.Header(), answer.Header())
		w.WriteHeader(answer.Code)
		_, _ = w.Write(answer.Body.Bytes())
	})
}
