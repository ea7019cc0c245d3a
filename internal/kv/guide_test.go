package kv_test

import (
	"errors"
	"fmt"
	"testing"

	"kvexpress/internal/kv"
)

func TestExplain(t *testing.T) {
	t.Parallel()
	of := func(remedy string) error {
		return &kv.StoreError{Op: "read a", Kind: kv.ErrDenied, Remedy: remedy}
	}
	flags := []kv.Flag{{"-s", "[::1]:8500"}, {"-p", "it's"}}
	for _, test := range []struct {
		guide kv.Guide
		err   error
		want  string
	}{
		{kv.Guide{Role: "node", Key: "hosts"}, fmt.Errorf("x: %w", kv.ErrDenied),
			"x: permission denied; `kvexpress acl node -k hosts` prints the policy that the token needs"},
		{kv.Guide{Role: "operator", Flags: flags, Token: true}, of(""),
			"read a: permission denied; `kvexpress acl operator -p 'it'\\''s'` prints the policy that the token needs"},
		{kv.Guide{Role: "node"}, of("open the door"), "read a: permission denied; open the door"},
		{kv.Guide{Flags: flags, Token: true}, errors.New("`kvexpress resume -k a` lifts it"),
			"`kvexpress resume -k a -s '[::1]:8500' -p 'it'\\''s'` lifts it (with the same -t)"},
		{kv.Guide{Flags: flags}, errors.New("see `kvexpress agent --help` and `kvexpress kv export a/`"),
			"see `kvexpress agent --help` and `kvexpress kv export a/ -s '[::1]:8500'`"},
		{kv.Guide{Role: "node"}, fmt.Errorf("x: %w; `kvexpress acl …` prints …", kv.ErrDenied), "x: permission denied; `kvexpress acl …` prints …"},
	} {
		if got := test.guide.Explain(test.err); got != test.want {
			t.Errorf("%v is explained as\n%s, want\n%s", test.err, got, test.want)
		}
	}
}
