package consul_test

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"kvexpress/internal/kv"
	"kvexpress/internal/store/consul"
	"kvexpress/internal/testutil/consultest"
)

// Consul leaves denied rows out, and answers 409 or 403. None of it may look like an absent entry or a lost race.
func TestACL(t *testing.T) {
	server := consultest.Start(t, consultest.WithACL())
	as := func(token string) *consul.Store { return open(t, consul.Options{Addr: server.Addr, Token: token}) }
	root := as(server.ManagementToken)
	put := func(path string) uint64 {
		t.Helper()
		indexes, err := root.Commit(t.Context(), []kv.Op{{Verb: kv.Set, Path: path, Value: []byte("x")}})
		if err != nil {
			t.Fatal(err)
		}
		return indexes[path]
	}
	put("kvexpress/hosts/data")
	put("kvexpress/hosts/stop")
	put("kvexpress/other/data")
	index := put("kvexpress/other/stop")

	publisher := server.NewToken(t, `
		key_prefix "kvexpress/hosts/" { policy = "write" }
		key "kvexpress/other/stop" { policy = "read" }`)

	t.Run("denied rows are left out of a read", func(t *testing.T) {
		snap, err := as(publisher).Read(t.Context(), kv.Default,
			"kvexpress/other/data", "kvexpress/hosts/data", "kvexpress/other/missing", "kvexpress/hosts/missing", "kvexpress/other/stop")
		if err != nil {
			t.Fatal(err)
		}
		for path, want := range map[string]kv.State{
			"kvexpress/other/data":    kv.Denied,
			"kvexpress/other/missing": kv.Denied,
			"kvexpress/hosts/data":    kv.Present,
			"kvexpress/hosts/missing": kv.Absent,
			"kvexpress/other/stop":    kv.Present,
		} {
			if got := snap[path].State; got != want {
				t.Errorf("%s has state %d, want %d", path, got, want)
			}
		}
	})
	t.Run("denied rows are left out of a tree", func(t *testing.T) {
		snap, err := as(publisher).Read(t.Context(), kv.Default, "kvexpress/", "kvexpress/other/data", "elsewhere/")
		want := []string{"kvexpress/hosts/data", "kvexpress/hosts/stop", "kvexpress/other/stop"}
		if got := slices.Sorted(maps.Keys(snap)); err != nil || !slices.Equal(got, want) {
			t.Errorf("the tree has %q and %v, want %q", got, err, want)
		}
	})
	t.Run("denied paths are left out of a list", func(t *testing.T) {
		keys, err := as(publisher).Keys(t.Context(), "kvexpress/")
		want := []string{"kvexpress/hosts/data", "kvexpress/hosts/stop", "kvexpress/other/stop"}
		if err != nil || !slices.Equal(keys, want) {
			t.Errorf("keys are %q and %v, want %q", keys, err, want)
		}
		if keys, err := as("").Keys(t.Context(), "kvexpress/"); err != nil || len(keys) != 0 {
			t.Errorf("keys without a token are %q and %v, want none", keys, err)
		}
	})

	mine := kv.Op{Verb: kv.Set, Path: "kvexpress/hosts/data", Value: []byte("y")}
	for _, test := range []struct {
		name string
		op   kv.Op
		want error
	}{
		{"write", kv.Op{Verb: kv.Set, Path: "kvexpress/other/data"}, kv.ErrDenied},
		{"check and set", kv.Op{Verb: kv.CheckAndSet, Path: "kvexpress/other/stop", Index: index}, kv.ErrDenied},
		{"delete", kv.Op{Verb: kv.Delete, Path: "kvexpress/other/missing"}, kv.ErrDenied},
		{"check absent", kv.Op{Verb: kv.CheckAbsent, Path: "kvexpress/other/missing"}, kv.ErrDenied},
		{"check index", kv.Op{Verb: kv.CheckIndex, Path: "kvexpress/other/data", Index: 1}, kv.ErrDenied},
		{"check index with the right to read", kv.Op{Verb: kv.CheckIndex, Path: "kvexpress/other/stop", Index: index - 1},
			kv.ErrConflict},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, ops := range [][]kv.Op{{test.op}, {mine, test.op}} {
				_, err := as(publisher).Commit(t.Context(), ops)
				if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.op.Path) {
					t.Errorf("%d operations give %v, want %v that names %s", len(ops), err, test.want, test.op.Path)
				}
			}
		})
	}

	t.Run("a revoked token", func(t *testing.T) {
		token := server.NewToken(t, `key_prefix "" { policy = "write" }`)
		s := as(token)
		if _, err := s.Read(t.Context(), kv.Default, "kvexpress/hosts/data"); err != nil {
			t.Fatal(err)
		}
		server.RevokeToken(t, token)
		for name, err := range requests(t.Context(), s) {
			if !errors.Is(err, kv.ErrDenied) || strings.Contains(err.Error(), token) {
				t.Errorf("%s gives %v, want ErrDenied without the token", name, err)
			}
		}
	})
}

// An election is not an unknown outcome: Consul's words for it are relied on.
func TestNoLeader(t *testing.T) {
	server := consultest.Start(t, consultest.WithServer(3), // two of them never start
		consultest.WithConfig(map[string]any{"performance": map[string]any{"rpc_hold_timeout": "10ms"}}))
	for name, err := range requests(t.Context(), open(t, consul.Options{Addr: server.Addr})) {
		if !errors.Is(err, kv.ErrUnreachable) {
			t.Errorf("%s gives %v, want ErrUnreachable", name, err)
		}
	}
}
