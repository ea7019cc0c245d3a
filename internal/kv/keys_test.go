package kv_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"kvexpress/internal/embedded"
	"kvexpress/internal/kv"
)

// small is a store whose answers have so many names at most, and which counts requests.
type small struct {
	*embedded.Store
	most  int
	asked atomic.Int64
}

func (s *small) Level(ctx context.Context, prefix string) ([]string, error) {
	s.asked.Add(1)
	paths, err := s.Store.Level(ctx, prefix)
	if len(paths) > s.most {
		return nil, &kv.StoreError{Op: "list " + prefix, Kind: kv.ErrTooLarge}
	}
	return paths, err
}

// ListKeys finds all keys with their rows, without history and locks. A folder with too many names hides no other key.
func TestListKeys(t *testing.T) {
	s := &small{Store: embedded.New(), most: 20}
	layout, err := kv.NewLayout("team/kvexpress")
	if err != nil {
		t.Fatal(err)
	}
	put := func(paths ...string) {
		t.Helper()
		for _, path := range paths {
			op := kv.Op{Verb: kv.Set, Path: "team/kvexpress/" + path, Value: []byte("x")}
			if _, err := s.Commit(t.Context(), []kv.Op{op}); err != nil {
				t.Fatal(err)
			}
		}
	}
	put("hosts/data", "hosts/checksum", "a/b/c/checksum", "a/b/data/x", "a/stop", "only/data", "locks/00/web-1", "readme", "/x/stop",
		".history/hosts/1/data", "nothing/here", "a b/checksum", strings.Repeat("n", 300)+"/stop", "evil/checksum", "evil/in/stop")
	list := func() string {
		t.Helper()
		s.asked.Store(0)
		found, err := kv.ListKeys(t.Context(), s, layout)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(found.Sorted("checksum", "stop"), found.Sorted("data"), found.Left)
	}
	if got, want := list(), "[a a/b/c evil evil/in hosts] [hosts only] []"; got != want || s.asked.Load() != 9 {
		t.Errorf("%d requests: %s, want %s", s.asked.Load(), got, want)
	}
	for i := range 21 {
		put(fmt.Sprintf("evil/%d", i))
	}
	if got, want := list(), "[a a/b/c evil hosts] [evil hosts only] [team/kvexpress/evil/]"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	for i := range 20 {
		put(fmt.Sprintf("top%d/data", i))
	}
	if _, err := kv.ListKeys(t.Context(), s, layout); err == nil || !strings.Contains(err.Error(), "--prefix") {
		t.Errorf("too much at the top: %v", err)
	}
}
