package hold

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/embedded"
	"kvexpress/internal/kv"
)

func (f Freezer) put(t *testing.T, path, value string, flags uint64) {
	t.Helper()
	if _, err := f.Store.Commit(t.Context(), []kv.Op{{Verb: kv.Set, Path: path, Value: []byte(value), Flags: flags}}); err != nil {
		t.Fatal(err)
	}
}

func TestLocks(t *testing.T) {
	f := newFreezer(t, embedded.New())
	if got, err := f.Locks(t.Context()); err != nil || len(got) != 0 {
		t.Errorf("without any: %+v, %v", got, err)
	}
	elsewhere := f
	elsewhere.Host = "web-18"
	until := set.Add(time.Minute) // long over
	_, err := f.Lock(t.Context(), "/f", "why", time.Time{})
	_, err2 := elsewhere.Lock(t.Context(), "/f", "over", until)
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	f.put(t, f.Layout.Lock("/old", "web 1"), "1.x", 0)
	f.put(t, f.Layout.Lock("/soon", "web-1"), "plain until", uint64(until.Unix()))
	// None of these is a lock.
	f.put(t, f.Layout.Lock("/empty", "web-1"), "", 0)
	f.put(t, f.Layout.LocksDir()+"readme", "x", 0)
	f.put(t, f.Layout.Lock("/f", "web-1/deeper"), "x", 0)
	f.put(t, f.Layout.Stop("hosts"), "x", 0)

	got, err := f.Locks(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]Lock{
		"/f web-17":    {Reason: "why", Since: set},
		"/f web-18":    {Reason: "over", Since: set, Until: until},
		"/old web 1":   {Reason: "1.x"},
		"/soon web-1":  {Reason: "plain until", Until: until},
		"/empty web-1": {},
	}
	delete(want, "/empty web-1")
	if len(got) != len(want) {
		t.Errorf("%d locks, want %d: %+v", len(got), len(want), got)
	}
	for name, lock := range want {
		file, node, _ := strings.Cut(name, " ")
		lock.Hash, lock.Node = kv.FileHash(file), node
		found := false
		for _, l := range got {
			index := l.Index
			l.Index = 0
			found = found || index > 0 && reflect.DeepEqual(l, lock)
		}
		if !found {
			t.Errorf("no lock %+v in %+v", lock, got)
		}
	}
}

// A lock's reason and node are cut when they are read.
func TestLongLocks(t *testing.T) {
	f := newFreezer(t, embedded.New())
	f.put(t, f.Layout.Lock("/f", strings.Repeat("n", 5000)), strings.Repeat("why ", 50_000), 0)
	got, err := f.Locks(t.Context())
	if err != nil || len(got) != 1 || len(got[0].Node) > kv.MaxNodeLen || len(got[0].Reason) > kv.MaxReason {
		t.Errorf("%.2000v, %v", got, err)
	}
}

func TestStops(t *testing.T) {
	f := newFreezer(t, embedded.New())
	if got, _, err := f.Stops(t.Context()); err != nil || len(got) != 0 {
		t.Errorf("without any: %+v, %v", got, err)
	}
	const keys = 2*kv.MaxOps + 3 // for three requests
	for i := range keys {
		f.put(t, f.Layout.Data(kv.Key(fmt.Sprintf("key-%03d", i))), "x", 0)
	}
	for _, k := range []kv.Key{"key-000", "key-130", "not/published"} {
		if _, err := f.Stop(t.Context(), k, "because"); err != nil {
			t.Fatal(err)
		}
	}
	f.put(t, f.Layout.Stop("old"), "1.x", 7) // an until, which no stop has
	f.put(t, f.Layout.Stop("resumed"), "", 0)
	f.put(t, "kvexpress//hosts/stop", "x", 0)
	f.put(t, "kvexpress/.x/stop", "x", 0)
	f.put(t, f.Layout.Lock("/f", "stop"), "x", 0)
	got, _, err := f.Stops(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []Stop{
		{Key: "key-000", Reason: "because", Since: set}, {Key: "key-130", Reason: "because", Since: set},
		{Key: "not/published", Reason: "because", Since: set}, {Key: "old", Reason: "1.x"},
	}
	for i := range got {
		if got[i].Index == 0 {
			t.Errorf("%+v has no index", got[i])
		}
		got[i].Index = 0
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
}

// silent leaves denied rows out of lists without saying so, as Consul does for
// clients without a token.
type silent struct{ kv.Store }

func (s silent) List(ctx context.Context, c kv.Consistency, prefix string, since uint64, wait time.Duration) (kv.Listing, error) {
	all, err := s.Store.List(ctx, c, prefix, since, wait)
	all.Filtered = false
	return all, err
}

// Missing rights never mean "no locks".
func TestLocksThatMayNotBeRead(t *testing.T) {
	for name, deny := range map[string]string{"all": "kvexpress/", "all locks": "kvexpress/locks/", "one row": "kvexpress/locks/" +
		kv.FileHash("/f")} {
		denied := false
		store := embedded.New(embedded.Deny(func(path string, write bool) bool { return denied && !write && strings.HasPrefix(path, deny) }))
		f := newFreezer(t, store)
		if _, err := f.Lock(t.Context(), "/f", "why", time.Time{}); err != nil {
			t.Fatal(err)
		}
		denied = true
		stores := []kv.Store{store}
		if name != "one row" {
			stores = append(stores, silent{store})
		}
		for _, s := range stores {
			f.Store = s
			if got, err := f.Locks(t.Context()); !errors.Is(err, kv.ErrDenied) || got != nil {
				t.Errorf("%s, %T: %+v, %v", name, s, got, err)
			}
		}
	}
}

// Missing rights never mean "no stops": the list says that keys may be hidden, and an existing
// stop that cannot be read is an error.
func TestStopsThatMayNotBeRead(t *testing.T) {
	for name, test := range map[string]struct {
		may  []string // prefixes
		not  string   // a path
		got  int
		part bool // a *PartialError
	}{
		"nothing":              {},
		"all":                  {may: []string{"kvexpress/"}, got: 2},
		"one key":              {may: []string{"kvexpress/hosts/"}, got: 1, part: true},
		"the locks alone":      {may: []string{"kvexpress/locks/"}},
		"all but one stop":     {may: []string{"kvexpress/"}, not: "kvexpress/hosts/stop", got: 1, part: true},
		"a key without a stop": {may: []string{"kvexpress/free/"}, part: true},
	} {
		denied := false
		f := newFreezer(t, embedded.New(embedded.Deny(func(path string, write bool) bool {
			below := func(prefix string) bool { return strings.HasPrefix(path, prefix) }
			return denied && !write && (path == test.not || !slices.ContainsFunc(test.may, below))
		})))
		for _, k := range []kv.Key{"hosts", "other"} {
			f.put(t, f.Layout.Data(k), "x", 0)
			if _, err := f.Stop(t.Context(), k, "why"); err != nil {
				t.Fatal(err)
			}
		}
		f.put(t, f.Layout.Data("free"), "x", 0)
		if _, err := f.Lock(t.Context(), "/f", "why", time.Time{}); err != nil {
			t.Fatal(err)
		}
		denied = true
		got, _, err := f.Stops(t.Context())
		var part *PartialError
		if len(got) != test.got || errors.As(err, &part) != test.part || (err == nil) != (name == "all") {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		if err != nil && !errors.Is(err, kv.ErrDenied) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// lost does not bring the rows below a path, though it lists them.
type lost struct {
	kv.Store
	path string
}

func (s lost) Read(ctx context.Context, c kv.Consistency, paths ...string) (kv.Snapshot, error) {
	rows, err := s.Store.Read(ctx, c, paths...)
	delete(rows, s.path)
	return rows, err
}

func TestStopThatDoesNotComeBack(t *testing.T) {
	f := newFreezer(t, embedded.New())
	if _, err := f.Stop(t.Context(), "hosts", "why"); err != nil {
		t.Fatal(err)
	}
	f.Store = lost{f.Store, f.Layout.Stop("hosts")}
	var part *PartialError
	if got, _, err := f.Stops(t.Context()); !errors.Is(err, kv.ErrDenied) || errors.As(err, &part) || got != nil ||
		!strings.Contains(err.Error(), "hosts") {
		t.Errorf("%+v, %v", got, err)
	}
}
