package consul_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"kvexpress/internal/kv"
	"kvexpress/internal/store/consul"
)

// patience limits the wait of a test for an event that must happen long before.
const patience = 30 * time.Second

// beat is the time between two bytes of a slow server.
const beat = 50 * time.Millisecond

// trickle sends text at once and then a byte at each beat, until the client has
// had enough.
func trickle(t *testing.T, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		tick := time.NewTicker(beat)
		defer tick.Stop()
		if _, err := io.WriteString(conn, text); err != nil {
			return
		}
		for begun := time.Now(); time.Since(begun) < patience; <-tick.C {
			if _, err := io.WriteString(conn, "x"); err != nil {
				return
			}
		}
		t.Error("the client did not give up")
	}
}

// hang sends text, and then nothing until the client has had enough.
func hang(t *testing.T, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, text)
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error("the client did not give up")
		}
	}
}

// A slow answer ends with the store's time limit. A part of an entry is not an entry.
func TestWatchSlowAnswers(t *testing.T) {
	const head = "HTTP/1.1 200 OK\r\nX-Consul-Index: 7\r\n"
	tests := []struct {
		name    string
		handler http.HandlerFunc
		says    string
	}{
		{"nothing", hang(t, ""), "no answer within"},
		{"half a header", hang(t, head), "no answer within"},
		{"a header by the byte", trickle(t, head+"X-Slow: "), "no answer within"},
		{"no body", hang(t, head+"Content-Length: 5\r\n\r\n"), "no answer within"},
		{"half a body", hang(t, head+"Content-Length: 5\r\n\r\nxx"), "no answer within"},
		{"half a body in chunks", hang(t, head+"Transfer-Encoding: chunked\r\n\r\n2\r\nxx\r\n"), "no answer within"},
		{"a body by the byte", trickle(t, head+"Content-Length: 524288\r\n\r\n"), "no answer within"},
		{"no body of an absence", hang(t, "HTTP/1.1 404 Not Found\r\nX-Consul-Index: 7\r\nContent-Length: 5\r\n\r\n"),
			"no answer within"},
		{"an error by the byte", trickle(t, "HTTP/1.1 500 Bad\r\nContent-Length: 524288\r\n\r\n"), ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			server := serve(t, test.handler)
			s := open(t, consul.Options{Addr: server.URL, Token: token, Timeout: 150 * time.Millisecond})
			for _, since := range []uint64{0, 7} {
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				entry, err := s.Watch(ctx, readPath, since, short)
				cancel()
				checkError(t, "Watch", err, kv.ErrUnreachable)
				if err != nil && (!strings.Contains(err.Error(), test.says) || errors.Is(err, context.DeadlineExceeded)) {
					t.Errorf("Watch since %d says %q, want %q in it", since, err, test.says)
				}
				if entry.State != kv.Denied || entry.Value != nil {
					t.Errorf("Watch since %d gives %+v beside its error", since, entry)
				}
			}
		})
	}
}

// A caller that leaves ends the watch with its own reason, at any time.
func TestWatchEndsWithItsContext(t *testing.T) {
	const head = "HTTP/1.1 200 OK\r\nX-Consul-Index: 7\r\n"
	for name, text := range map[string]string{"waiting": "", "in the body": head + "Content-Length: 5\r\n\r\nxx"} {
		t.Run(name, func(t *testing.T) {
			sent := make(chan struct{}, 1)
			server := serve(t, func(w http.ResponseWriter, r *http.Request) {
				sent <- struct{}{}
				hang(t, text)(w, r)
			})
			s := open(t, consul.Options{Addr: server.URL, Token: token, Timeout: patience})
			for _, reason := range []error{nil, errors.New("the reason")} {
				ctx, cancel := context.WithCancelCause(t.Context())
				var group sync.WaitGroup
				group.Go(func() {
					<-sent
					cancel(reason)
				})
				_, err := s.Watch(ctx, readPath, 7, kv.MaxWait)
				group.Wait()
				checkError(t, "Watch", err, kv.ErrUnreachable)
				if !errors.Is(err, context.Canceled) || reason != nil && !errors.Is(err, reason) {
					t.Errorf("Watch gives %v, want context.Canceled and %v in it", err, reason)
				}
			}
			ctx, cancel := context.WithTimeout(t.Context(), beat)
			defer cancel()
			_, err := s.Watch(ctx, readPath, 7, kv.MaxWait)
			checkError(t, "Watch", err, kv.ErrUnreachable)
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Watch gives %v, want context.DeadlineExceeded in it", err)
			}
		})
	}
}
