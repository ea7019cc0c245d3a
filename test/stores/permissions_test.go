package stores

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"kvexpress/internal/kv"
)

// guarded is a store with tokens.
type guarded interface {
	kv.Store
	kv.Permissions
	As(token string) (kv.Store, error)
}

// permissions tests kv.Permissions on a store with tokens. issue makes a token with a policy in Consul's HCL, or
// changes the rules of callers without a token, and revoke ends it.
func permissions(t *testing.T, store guarded, issue func(policy string) (token string), revoke func(token string)) {
	ctx := t.Context()
	policies := map[string]string{
		"none": ``,
		"all":  `key_prefix "" { policy = "write" }`,
		"node": `key_prefix "kvexpress/hosts/" { policy = "read" } key "kvexpress-nodes/web-1" { policy = "write" }`,
		"holes": `key_prefix "kvexpress/" { policy = "write" } key "kvexpress/hosts/stop" { policy = "deny" }
			key "kvexpress/hosts/data" { policy = "read" }`,
	}
	tokens := map[string]string{}
	for name, policy := range policies {
		tokens[name] = issue(policy)
	}
	const data, stop, missing, node, other = "kvexpress/hosts/data", "kvexpress/hosts/stop", "kvexpress/hosts/none",
		"kvexpress-nodes/web-1", "kvexpress-nodes/web-2"
	before, err := store.Commit(ctx, []kv.Op{
		{Verb: kv.Set, Path: data, Value: []byte("x")}, {Verb: kv.Set, Path: other, Value: []byte("x")}})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		token         string
		reads, writes []string
		want          []string
	}{
		{"none", []string{data, missing}, []string{node}, []string{data, missing, node}},
		{"none", nil, nil, nil},
		{"all", []string{data, missing}, []string{node, other}, nil},
		{"all", nil, []string{node}, nil}, // it does not exist, so nothing fails
		{"node", []string{data, stop, missing}, []string{node}, nil},
		{"node", []string{data}, []string{other}, []string{other}},
		{"node", []string{data, other}, []string{node, data}, []string{data, other}},
		{"node", []string{other, other}, []string{other}, []string{other}},
		{"holes", []string{data, stop, missing}, nil, []string{stop}},
		{"holes", []string{data}, []string{data, missing}, []string{data}},
		{"", []string{data}, []string{node}, []string{data, node}},
	} {
		got, err := store.Denied(ctx, tokens[test.token], test.reads, test.writes)
		slices.Sort(test.want)
		if err != nil || !slices.Equal(got, test.want) {
			t.Errorf("token %q, reads %q, writes %q: denied %q and %v, want %q", test.token, test.reads, test.writes, got, err, test.want)
		}
	}
	after, err := store.Read(ctx, kv.Consistent, data, other, node)
	if err != nil || after[data].Index != before[data] || after[other].Index != before[other] || after[node].State != kv.Absent {
		t.Errorf("the checks left %+v and %v, want the rows %v and no other", after, err, before)
	}

	// As is the store with the rights of another token.
	as := func(token string) kv.Store {
		t.Helper()
		s, err := store.As(token)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	for token, want := range map[string]kv.State{tokens["holes"]: kv.Present, tokens["none"]: kv.Denied, "": kv.Denied} {
		if rows, err := as(token).Read(ctx, kv.Default, data); err != nil || rows[data].State != want {
			t.Errorf("a token reads %v and %v, want %v", rows[data].State, err, want)
		}
	}
	for path, want := range map[string]error{data: kv.ErrDenied, "kvexpress/hosts/new": nil} {
		if _, err := as(tokens["holes"]).Commit(ctx, []kv.Op{{Verb: kv.Set, Path: path, Value: []byte("x")}}); !errors.Is(err, want) {
			t.Errorf("a token writes %s with %v, want %v", path, err, want)
		}
	}

	full := make([]string, kv.MaxOps)
	for i := range full {
		full[i] = fmt.Sprintf("kvexpress/hosts/%02d", i)
	}
	if got, err := store.Denied(ctx, tokens["holes"], full[:40], full[40:]); err != nil || got != nil {
		t.Errorf("%d paths: denied %q and %v, want none", len(full), got, err)
	}
	if _, err := store.Denied(ctx, tokens["holes"], full, []string{node}); !errors.Is(err, kv.ErrTooLarge) {
		t.Errorf("%d paths give %v, want ErrTooLarge", len(full)+1, err)
	}

	unknown := "0b1ee4b7-0000-4000-8000-" + kv.NewID()[:12]
	if got, err := store.Denied(ctx, unknown, []string{data}, nil); !errors.Is(err, kv.ErrDenied) ||
		!strings.Contains(err.Error(), "not know this token") || strings.Contains(err.Error(), unknown) {
		t.Errorf("an unknown token: %q and %v, want ErrDenied in words, without the token", got, err)
	}
	if s, err := store.As(unknown); err == nil {
		if _, err = s.Read(ctx, kv.Default, data); !errors.Is(err, kv.ErrDenied) {
			t.Errorf("an unknown token reads with %v, want ErrDenied", err)
		}
	} else if !errors.Is(err, kv.ErrDenied) {
		t.Errorf("an unknown token gives %v, want ErrDenied", err)
	}
	revoke(tokens["all"])
	if _, err := store.Denied(ctx, tokens["all"], []string{data}, nil); !errors.Is(err, kv.ErrDenied) {
		t.Errorf("a revoked token gives %v, want ErrDenied", err)
	}
	if on, err := kv.ACLs(ctx, store); err != nil || !on {
		t.Errorf("ACLs are %t and %v, want on", on, err)
	}
}

// withoutACLs tests kv.Permissions on a store that knows no tokens: any token passes.
func withoutACLs(t *testing.T, store kv.Permissions) {
	for _, token := range []string{"", kv.NewID()} {
		if got, err := store.Denied(t.Context(), token, []string{"kvexpress/a"}, []string{"kvexpress/b"}); err != nil || got != nil {
			t.Errorf("token %q: denied %q and %v, want none", token, got, err)
		}
	}
	if on, err := kv.ACLs(t.Context(), store); err != nil || on {
		t.Errorf("ACLs are %t and %v, want off", on, err)
	}
}
