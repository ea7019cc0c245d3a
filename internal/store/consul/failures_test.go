package consul_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode"

	"kvexpress/internal/kv"
	"kvexpress/internal/store/consul"
)

const token = "5ec4e700-0000-4000-8000-00000000beef"

// sentinels are all that an error may be classified as.
var sentinels = []error{
	kv.ErrUnreachable, kv.ErrUnknownOutcome, kv.ErrDenied, kv.ErrConflict, kv.ErrNotStore, kv.ErrTooLarge, kv.ErrRequest,
}

// checkError makes sure that an error is of the one kind, and fit to show.
func checkError(t *testing.T, name string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s gives %v, want %q", name, err, want)
		return
	}
	checkOneKind(t, name, err)
}

// checkOneKind makes sure that an error is of one kind alone, and fit to show.
func checkOneKind(t *testing.T, name string, err error) {
	t.Helper()
	kinds := 0
	for _, kind := range sentinels {
		if errors.Is(err, kind) {
			kinds++
		}
	}
	var typed *kv.StoreError
	if kinds != 1 || !errors.As(err, &typed) || typed.Op == "" || typed.Addr == "" {
		t.Errorf("%s gives %v, want a StoreError of one kind with operation and address", name, err)
		return
	}
	text := err.Error()
	if strings.Contains(text, token) {
		t.Errorf("%s shows the token: %s", name, text)
	}
	if strings.ContainsFunc(text, unicode.IsControl) || len([]rune(text)) > 500 {
		t.Errorf("%s gives an error that is not fit to show: %q", name, text)
	}
}

// told is the text of an error and its remedy.
func told(err error) string { return err.Error() + "; " + kv.Remedy(err) }

// answer is a stand-in's reply.
func answer(status int, contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body) // the client may have left
	}
}

// For any answer the kind of error is right, a write that may have run has an unknown outcome, and the token is never shown, although every
// answer here contains it.
func TestAnswersThatAreNotConsuls(t *testing.T) {
	const (
		json  = "application/json"
		html  = "text/html; charset=utf-8"
		plain = "text/plain; charset=utf-8"
	)
	big := strings.Repeat("x", 64<<10)
	tests := []struct {
		name    string
		handler http.HandlerFunc
		read    error // of Read and Keys
		commit  error
		says    string
	}{
		{"captive portal", answer(200, html, "<h1>true Log in!</h1>"+token), kv.ErrNotStore, kv.ErrNotStore, "set Consul's"},
		{"200 without a type", answer(200, "", `{"Results":[]}`), kv.ErrNotStore, kv.ErrNotStore, "set Consul's"},
		{"token as a type", answer(200, "text/"+token, ""), kv.ErrNotStore, kv.ErrNotStore, "text/(secret)"},
		{"204", answer(204, json, ""), kv.ErrNotStore, kv.ErrNotStore, "204"},
		{"404 of a web server", answer(404, html, "not here"), kv.ErrNotStore, kv.ErrNotStore, "404"},
		{"409 in HTML", answer(409, html, "edit conflict"), kv.ErrNotStore, kv.ErrNotStore, "409"},
		{"500", answer(500, plain, "internal\x1b[31m\r\nerror "+token), kv.ErrUnreachable, kv.ErrUnknownOutcome,
			`internal\x1b[31m\r\nerror (secret)`},
		{"502 of a proxy", answer(502, html, "<h1>Bad gateway</h1>"), kv.ErrUnreachable, kv.ErrUnknownOutcome, "502"},
		{"503", answer(503, plain, "busy"), kv.ErrUnreachable, kv.ErrUnknownOutcome, "busy"},
		{"leadership lost", answer(500, plain, "raft apply failed: leadership lost while committing log"), kv.ErrUnreachable,
			kv.ErrUnknownOutcome, "leadership lost"},
		{"no leader", answer(500, plain, "No cluster leader"), kv.ErrUnreachable, kv.ErrUnreachable, "No cluster leader"},
		{"no leader, by a client agent", answer(500, plain, "rpc error making call: No cluster leader"), kv.ErrUnreachable,
			kv.ErrUnreachable, "No cluster leader"},
		{"429", answer(429, plain, "Your IP is issuing too many concurrent connections"), kv.ErrUnreachable, kv.ErrUnreachable,
			"too many"},
		{"403", answer(403, plain, "ACL not found "+token), kv.ErrDenied, kv.ErrDenied, "ACL not found"},
		{"401", answer(401, html, "who are you"), kv.ErrDenied, kv.ErrDenied, "who are you"},
		{"413", answer(413, plain, "Request body too large"), kv.ErrTooLarge, kv.ErrTooLarge, "Request body too large"},
		{"400", answer(400, plain, "bad "+token+big), kv.ErrRequest, kv.ErrRequest, "bad (secret)xxx"},
		{"cut JSON", answer(200, json, `{"Results":[{"KV":{"Key":"`), kv.ErrNotStore, kv.ErrUnknownOutcome, "set Consul's"},
		{"empty JSON", answer(200, json, ``), kv.ErrNotStore, kv.ErrUnknownOutcome, "set Consul's"},
		{"JSON of another shape", answer(200, json, `"Results"`), kv.ErrNotStore, kv.ErrUnknownOutcome, "set Consul's"},
		{"JSON that quotes the token", answer(200, json, `{"Results":"`+token+`"}`), kv.ErrNotStore, kv.ErrUnknownOutcome, "set Consul's"},
		{"JSON with a number of 64 KiB", answer(200, json, `{"Results":[{"KV":{"Flags":`+strings.Repeat("9", 64<<10)+`}}]}`), kv.ErrNotStore, kv.ErrUnknownOutcome, "set Consul's"},
		{"deep JSON", answer(200, json, `{"Results":`+strings.Repeat("[", 1<<20)), kv.ErrNotStore, kv.ErrUnknownOutcome, "set Consul's"},
		{"endless answer", endless(t), kv.ErrNotStore, kv.ErrUnknownOutcome, "1536 KiB"},
		{"endless error", endlessError(t), kv.ErrUnreachable, kv.ErrUnknownOutcome, "xxx"},
		{"answer that breaks off", breakOff, kv.ErrUnreachable, kv.ErrUnknownOutcome, "broke off"},
		{"connection closed", hangUp, kv.ErrUnreachable, kv.ErrUnknownOutcome, "EOF"},
		{"reset by a server that quotes the token", malformed, kv.ErrUnreachable, kv.ErrUnknownOutcome, "(secret)"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := open(t, consul.Options{Addr: serve(t, test.handler).URL, Token: token})
			for name, err := range requests(t.Context(), s) {
				want := test.read
				if name == "Commit" {
					want = test.commit
				}
				checkError(t, name, err, want)
				says := test.says
				if name == "Keys" && says == "1536 KiB" {
					says = "8192 KiB" // of names, there may be many
				}
				if err != nil && !strings.Contains(told(err), says) {
					t.Errorf("%s says %q, want %q in it", name, err, says)
				}
			}
		})
	}
}

// endless sends JSON until the client has had enough, which must be soon.
func endless(t *testing.T) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, err := io.WriteString(w, `{"Results":[`)
		chunk := strings.Repeat("{},", 1<<12)
		for sent := 0; err == nil; sent += len(chunk) {
			if sent > 64<<20 { // 8 MiB, and all that buffers on the way may hold
				t.Error("the client reads without an end")
				return
			}
			_, err = io.WriteString(w, chunk)
		}
	}
}

func breakOff(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", "1000")
	_, _ = io.WriteString(w, `{"Results":[`)
}

func hangUp(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

// malformed answers with bytes that are not HTTP, and the token.
func malformed(w http.ResponseWriter, _ *http.Request) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	_, _ = io.WriteString(conn, "220 "+token+" ESMTP\r\n\r\n")
	_ = conn.Close()
}

// A redirect is refused, wherever it leads: the token must not travel.
func TestRedirectsAreNotFollowed(t *testing.T) {
	elsewhere := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("the redirect was followed, with the token %q", r.Header.Get("X-Consul-Token"))
	})
	for _, status := range []int{301, 302, 303, 307, 308} {
		s := open(t, consul.Options{Token: token, Addr: serve(t, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL+"/?t="+token, status)
		}).URL})
		for name, err := range requests(t.Context(), s) {
			checkError(t, name, err, kv.ErrNotStore)
			if err != nil && !strings.Contains(told(err), "set Consul's") {
				t.Errorf("%s says %q, want a remedy", name, err)
			}
		}
	}
}

// A slow server ends with our limit, a caller that leaves with its own reason;
// a write that was under way is unknown in both cases.
func TestSlowAnswers(t *testing.T) {
	arrived := make(chan struct{})
	server := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case arrived <- struct{}{}:
			<-r.Context().Done()
		case <-r.Context().Done(): // the test did not wait for it
		}
	})
	kindOf := func(name string) error {
		if name == "Commit" {
			return kv.ErrUnknownOutcome
		}
		return kv.ErrUnreachable
	}

	s := open(t, consul.Options{Addr: server.URL, Token: token, Timeout: 300 * time.Millisecond})
	for name, err := range requests(t.Context(), s) {
		checkError(t, name, err, kindOf(name))
		if err != nil && !strings.Contains(err.Error(), "no answer within 300ms") {
			t.Errorf("%s says %q, want the limit in it", name, err)
		}
		if errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s gives %v, which reads as if the caller's time were over", name, err)
		}
	}

	s = open(t, consul.Options{Addr: server.URL, Token: token})
	for _, reason := range []error{nil, errors.New("the reason")} {
		ctx, cancel := context.WithCancelCause(t.Context())
		go func() {
			<-arrived // of Read; the others find the context ended
			cancel(reason)
		}()
		for name, err := range requests(ctx, s) {
			if !errors.Is(err, context.Canceled) || reason != nil && !errors.Is(err, reason) {
				t.Errorf("%s gives %v, want context.Canceled and %v in it", name, err, reason)
			}
			checkError(t, name, err, kv.ErrUnreachable)
		}
	}

	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-arrived
		cancel()
	}()
	_, err := s.Commit(ctx, []kv.Op{{Verb: kv.Set, Path: writePath}})
	checkError(t, "Commit", err, kv.ErrUnknownOutcome)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Commit gives %v, want context.Canceled in it", err)
	}
}

// A request that was not sent has no unknown outcome.
func TestNoConnection(t *testing.T) {
	server := serve(t, answer(200, "", ""))
	server.Close()
	for name, err := range requests(t.Context(), open(t, consul.Options{Addr: server.URL, Token: token})) {
		checkError(t, name, err, kv.ErrUnreachable)
	}
}

// A request above the limit is not sent: Consul would hang up in its middle,
// and the outcome would be unknown.
func TestTooLargeIsNotSent(t *testing.T) {
	sent := 0
	s := open(t, consul.Options{Token: token, Addr: serve(t, func(http.ResponseWriter, *http.Request) { sent++ }).URL})
	_, err := s.Commit(t.Context(), []kv.Op{{Verb: kv.Set, Path: writePath, Value: make([]byte, 400<<10)}})
	checkError(t, "Commit", err, kv.ErrTooLarge)
	if want := fmt.Sprint(kv.MaxTxnBody); err != nil && !strings.Contains(err.Error(), want) {
		t.Errorf("Commit says %q, want the limit %s in it", err, want)
	}
	if sent != 0 {
		t.Errorf("%d requests were sent, want none", sent)
	}
}
