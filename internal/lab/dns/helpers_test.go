package dns

import (
	"errors"
	"net/netip"
	"os"
	"slices"
	"testing"
)

// dial returns a client that is closed after the test.
func dial(t *testing.T, server netip.AddrPort) *Client {
	t.Helper()
	c, err := Dial(t.Context(), server)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// is says whether an answer has these addresses.
func is(addrs ...string) func(Answer, error) bool {
	return func(a Answer, err error) bool {
		var got []string
		for _, one := range a.Addrs {
			got = append(got, one.String())
		}
		return err == nil && slices.Equal(got, addrs) && a.Exists == (len(addrs) > 0)
	}
}

// want asks until there is an answer: a slow machine may take a server's second.
func want(t *testing.T, c *Client, name string, good func(Answer, error) bool) {
	t.Helper()
	a, err := c.Ask(t.Context(), name)
	for range 20 {
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		a, err = c.Ask(t.Context(), name)
	}
	if !good(a, err) {
		t.Errorf("%s: got %+v, %v", name, a, err)
	}
}
