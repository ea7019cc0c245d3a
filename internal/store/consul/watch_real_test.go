package consul_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/kv"
	"kvexpress/internal/store/consul"
	"kvexpress/internal/testutil/consultest"
)

func set(t *testing.T, s *consul.Store, path, value string) uint64 {
	t.Helper()
	indexes, err := s.Commit(t.Context(), []kv.Op{{Verb: kv.Set, Path: path, Value: []byte(value)}})
	if err != nil {
		t.Fatal(err)
	}
	return indexes[path]
}

func TestWatchInConsul(t *testing.T) {
	server := consultest.Start(t)
	s := open(t, consul.Options{Addr: server.Addr})
	t.Run("names", func(t *testing.T) { testWatchNames(t, s) })
	t.Run("the largest value", func(t *testing.T) { testWatchLargest(t, s, server) })
	t.Run("one connection", func(t *testing.T) { testWatchConnections(t, server) })
}

// A watch returns the entry of its own name. A name that Consul would read as another name is refused.
func testWatchNames(t *testing.T, s *consul.Store) {
	good := []string{
		"a", "a b?", "a b", "a?raw", "a?raw&index=5&wait=1s", "a#b", "a%2fb", "a/b", "a+b", "a;b", "a&b=c", "a=b,c", "a..b", ".a",
		"...", "a.", "a/",
		`"a"`, `a\b`, "a:b@c", "[a]", "{a}|^`~'()!$*", "<a>", "%", "%00", "%zz", "ä", "a\u0308", "日本", strings.Repeat("long/", 200),
	}
	bad := []string{
		"a%20b", " a ", "%2e%2e/b", "%2e%2e%2fb", "../b", "./b", "/b", "a/../b", "a//b", "a\nb", "a\x00", "b\r\nX: y", "a\u202eb",
		"a\u00a0b",
	}
	written := func(name string) string { return "the value of " + name }
	for _, name := range slices.Concat(good, bad) {
		set(t, s, "kvexpress/names/"+name, written(name))
	}
	for _, decoy := range []string{"kvexpress/b", "b", "kvexpress/names/b"} {
		set(t, s, decoy, "a decoy")
	}
	for _, name := range good {
		entry, err := s.Watch(t.Context(), "kvexpress/names/"+name, 0, short)
		if err != nil || entry.State != kv.Present || string(entry.Value) != written(name) {
			t.Errorf("%q gives state %d, %.100q and %v, want its own value", name, entry.State, entry.Value, err)
		}
	}
	for _, name := range bad {
		switch entry, err := s.Watch(t.Context(), "kvexpress/names/"+name, 0, short); {
		case err != nil:
			checkOneKind(t, fmt.Sprintf("%q", name), err)
		case entry.State != kv.Present || string(entry.Value) != written(name):
			t.Errorf("%q gives state %d and %q, want its own value or an error", name, entry.State, entry.Value)
		}
	}
	for _, part := range []string{"kvexpress", "kvexpress/names", "kvexpress/names/", "kvexpress/names/A"} {
		if entry, err := s.Watch(t.Context(), part, 0, short); err != nil || entry.State != kv.Absent {
			t.Errorf("%q, which was never written, gives state %d and %v, want it absent", part, entry.State, err)
		}
	}
}

func testWatchLargest(t *testing.T, s *consul.Store, server *consultest.Server) {
	value := make([]byte, 512<<10)
	for i := range value {
		value[i] = byte(i * 7 >> 3)
	}
	// No transaction can hold it.
	if status, answer, err := server.Request(http.MethodPut, "/v1/kv/kvexpress/large", "", value); err != nil || status != 200 {
		t.Fatalf("write: %d %s %v", status, answer, err)
	}
	entry, err := s.Watch(t.Context(), "kvexpress/large", 0, short)
	if err != nil || entry.State != kv.Present || !bytes.Equal(entry.Value, value) {
		t.Errorf("a value of %d bytes gives state %d, %d bytes and %v", len(value), entry.State, len(entry.Value), err)
	}
}

// A lasting store needs one connection, whatever Consul answers.
func testWatchConnections(t *testing.T, server *consultest.Server) {
	for _, lasting := range []bool{true, false} {
		w := newWire(t, server.Addr)
		s := open(t, consul.Options{Addr: w.addr, Lasting: lasting})
		index := set(t, s, readPath, "x")
		for range 3 {
			for path, since := range map[string]uint64{readPath: 0, "kvexpress/missing": 0, "kvexpress/large": 0, writePath: 1} {
				if _, err := s.Watch(t.Context(), path, since, short); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := s.Watch(t.Context(), readPath, index, short); err != nil { // runs out
				t.Fatal(err)
			}
			if _, err := s.Watch(t.Context(), "a\nb", 0, short); err == nil { // status 400
				t.Fatal("no error")
			}
			if _, err := s.Read(t.Context(), kv.Default, readPath, "kvexpress/missing"); err != nil {
				t.Fatal(err)
			}
		}
		if got := w.accepted.Load(); got != 1 {
			t.Errorf("lasting %t: %d connections, want 1", lasting, got)
		}
	}
}

// A token that may not read an entry, or may no more, gets an error: an answer
// without the entry would mean that it was deleted.
func TestWatchACL(t *testing.T) {
	server := consultest.Start(t, consultest.WithACL())
	as := func(token string) *consul.Store { return open(t, consul.Options{Addr: server.Addr, Token: token}) }
	root := as(server.ManagementToken)
	index := set(t, root, readPath, "x")
	set(t, root, "kvexpress/other", "x")
	token := server.NewToken(t, `key "`+readPath+`" { policy = "read" }`)

	for name, s := range map[string]*consul.Store{"a token": as(token), "no token": as(""),
		"an unknown token": as("5ec4e700-0000-4000-8000-000000000bad")} {
		for _, path := range []string{"kvexpress/other", "kvexpress/missing", "kvexpress/hosts"} {
			for _, since := range []uint64{0, index} {
				entry, err := s.Watch(t.Context(), path, since, short)
				if !errors.Is(err, kv.ErrDenied) || entry.State != kv.Denied || entry.Index != 0 {
					t.Errorf("%s, %s since %d: %+v and %v, want ErrDenied", name, path, since, entry, err)
				}
			}
		}
	}

	t.Run("a revoked token", func(t *testing.T) {
		s := as(token)
		type seen struct {
			entry kv.Entry
			err   error
		}
		under := make(chan seen, 1)
		go func() {
			entry, err := s.Watch(t.Context(), readPath, index, 2*time.Second)
			under <- seen{entry, err}
		}()
		select {
		case got := <-under:
			t.Fatalf("Watch gives %+v and %v, want it to wait", got.entry, got.err)
		case <-time.After(300 * time.Millisecond):
		}
		server.RevokeToken(t, token)
		// The one that is under way may end as if nothing had happened, but must
		// not say that the entry was deleted.
		got := <-under
		if got.err == nil && (got.entry.State != kv.Present || string(got.entry.Value) != "x") || got.err != nil &&
			!errors.Is(got.err, kv.ErrDenied) {
			t.Errorf("the watch under way gives %+v and %v, want x or ErrDenied", got.entry, got.err)
		}
		for _, since := range []uint64{0, index} {
			_, err := s.Watch(t.Context(), readPath, since, short)
			if !errors.Is(err, kv.ErrDenied) || strings.Contains(err.Error(), token) {
				t.Errorf("the watch after gives %v, want ErrDenied without the token", err)
			}
		}
	})
}

// A server that has lost its leader still answers what it last knew, but says so.
func TestWatchWithoutLeader(t *testing.T) {
	servers := consultest.Cluster(t, 2)
	s := open(t, consul.Options{Addr: servers[0].Addr})
	index := set(t, s, readPath, "x")
	until := func(what string, reached func(kv.Entry, error) bool) {
		t.Helper()
		for begun := time.Now(); ; {
			entry, err := s.Watch(t.Context(), readPath, index, short)
			if reached(entry, err) {
				return
			}
			if time.Since(begun) > patience {
				t.Fatalf("%s: after %s, Watch gives %+v and %v", what, patience, entry, err)
			}
		}
	}
	// The server need not be the one that wrote it, and may be behind.
	until("the entry", func(entry kv.Entry, err error) bool { return err == nil && entry.Index == index })
	servers[1].Kill()
	until("no leader", func(entry kv.Entry, err error) bool {
		if err == nil && entry.Index != index {
			t.Fatalf("Watch gives %+v, want what it gave before, or an error", entry)
		}
		if err != nil {
			checkError(t, "Watch", err, kv.ErrUnreachable)
		}
		return err != nil && strings.Contains(err.Error(), "knows no leader")
	})
	for _, path := range []string{readPath, "kvexpress/missing"} {
		for _, since := range []uint64{0, index} {
			_, err := s.Watch(t.Context(), path, since, short)
			checkError(t, "Watch", err, kv.ErrUnreachable)
		}
	}
}
