package hub

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"kvexpress/internal/fleet"
	"kvexpress/internal/kv"
)

// rights are those of the token "mine". They cover all rows but secret.
type rights struct {
	secret string
	err    error
}

func (r rights) Denied(_ context.Context, token string, reads, writes []string) ([]string, error) {
	switch {
	case len(reads) > kv.MaxOps || len(writes) > 0:
		return nil, errors.New("wrong paths")
	case token != "mine" || slices.Contains(reads, r.secret):
		return []string{r.secret}, r.err
	}
	return nil, r.err
}

// Outputs are for callers whose token may read the key. If that cannot be checked, or the caller is another machine without TLS,
// there are none.
func TestOutputsAreWithheld(t *testing.T) {
	layout, _ := kv.NewLayout("kvexpress")
	const many = 100
	for name, tt := range map[string]struct {
		from   string
		secure bool
		err    error
		want   int
	}{
		"this machine":    {from: "127.0.0.1:4711", want: many - 1},
		"a socket":        {from: "@", want: many - 1},
		"TLS":             {from: "192.0.2.1:4711", secure: true, want: many - 1},
		"another machine": {from: "192.0.2.1:4711"},
		"the check fails": {from: "127.0.0.1:4711", err: &kv.StoreError{Kind: kv.ErrUnreachable}},
	} {
		a := &agents{layout: layout, secure: tt.secure, rights: rights{layout.Data("key-7"), tt.err}}
		rows := []fleet.PageRow{{Node: "none"}}
		for i := range many {
			o := fleet.Output{Key: fmt.Sprintf("key-%d", i), Text: "text"}
			rows = append(rows, fleet.PageRow{Outputs: []fleet.Output{o, {Key: "no/../key", Text: "text"}}})
		}
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = tt.from
		r.Header.Set("X-Consul-Token", "mine")
		a.withhold(t.Context(), r, rows)
		var shown []string
		for _, row := range rows {
			for _, o := range row.Outputs {
				shown = append(shown, o.Key)
			}
		}
		if len(shown) != tt.want || slices.Contains(shown, "key-7") || slices.Contains(shown, "no/../key") {
			t.Errorf("%s: shown are %d: %q", name, len(shown), shown)
		}
	}
}
