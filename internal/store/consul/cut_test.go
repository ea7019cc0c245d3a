package consul_test

import (
	"errors"
	"fmt"
	"reflect"
	"testing"

	"kvexpress/internal/kv"
	"kvexpress/internal/store/consul"
	"kvexpress/internal/testutil/consultest"
)

// Each answer is cut after each of its bytes. A part is never taken for the whole, and a write has an unknown outcome.
func TestAnswersCutByTheNetwork(t *testing.T) {
	server := consultest.Start(t)
	w := newWire(t, server.Addr)
	ask := map[string]func(s *consul.Store) (any, error){
		"Read": func(s *consul.Store) (any, error) {
			return s.Read(t.Context(), kv.Default, writePath, "kvexpress/missing")
		},
		"Watch":   func(s *consul.Store) (any, error) { return s.Watch(t.Context(), writePath, 0, short) },
		"absence": func(s *consul.Store) (any, error) { return s.Watch(t.Context(), "kvexpress/missing", 0, short) },
		"Keys":    func(s *consul.Store) (any, error) { return s.Keys(t.Context(), "kvexpress/") },
		"List":    func(s *consul.Store) (any, error) { return s.List(t.Context(), kv.Default, "kvexpress/", 0, 0) },
		"Commit": func(s *consul.Store) (any, error) {
			return s.Commit(t.Context(), []kv.Op{{Verb: kv.Set, Path: writePath, Value: []byte(tricky)}})
		},
	}
	for _, name := range []string{"Commit", "Read", "Keys", "List", "Watch", "absence"} {
		w.limit.Store(-1)
		before := w.passed.Load()
		whole, err := ask[name](open(t, consul.Options{Addr: w.addr, Token: token}))
		if err != nil {
			t.Fatal(name, err)
		}
		size := w.passed.Load() - before
		if size < 100 {
			t.Fatalf("the whole answer to %s has %d bytes", name, size)
		}
		for _, reset := range []bool{true, false} {
			w.reset.Store(reset)
			for limit := range size {
				if limit == 0 && reset { // it may come before the connection is made
					continue
				}
				w.limit.Store(limit)
				got, err := ask[name](open(t, consul.Options{Addr: w.addr, Token: token}))
				about := fmt.Sprintf("%s cut after %d of %d bytes, reset %t", name, limit, size, reset)
				switch {
				case err == nil && !reflect.DeepEqual(got, whole):
					t.Errorf("%s: %+v, want an error", about, got)
				case err != nil && name == "Commit" && !errors.Is(err, kv.ErrUnknownOutcome):
					t.Errorf("%s: %v, want an unknown outcome", about, err)
				case err != nil:
					checkOneKind(t, about, err)
					if entry, ok := got.(kv.Entry); ok && (entry.State != kv.Denied || entry.Value != nil || entry.Index != 0) {
						t.Errorf("%s: %+v beside the error %v", about, entry, err)
					}
				}
			}
		}
	}
}
