package dns

import (
	"net/netip"
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

func want(t *testing.T, c *Client, name string, good func(Answer, error) bool) {
	t.Helper()
	if a, err := c.Ask(t.Context(), name); !good(a, err) {
		t.Errorf("%s: got %+v, %v", name, a, err)
	}
}
