package publish

import (
	"slices"
	"strings"
	"testing"

	"kvexpress/internal/kv"
	"kvexpress/internal/record"
	"kvexpress/test/e2e"
)

// Sizes at each limit, on real Consul: what is let through arrives, what is not
// is refused before anything is written, and says what to do.
func TestSizes(t *testing.T) {
	t.Parallel()
	s, _ := e2e.Start(t)
	for _, c := range []struct {
		name    string
		content string
		args    []string
		refused []string // words of the refusal; nil: it arrives
	}{
		{"0 bytes", "", nil, []string{"empty"}},
		{"0 bytes, compressed", "", []string{"-z"}, []string{"empty"}},
		{"1 byte", "x", nil, nil},
		{"a newline alone", "\n", nil, nil},
		{"as many lines as asked for", e2e.Text("x", 10), []string{"-l", "10"}, nil},
		{"one line less", e2e.Text("x", 9), []string{"-l", "10"}, []string{"9 lines", "at least 10", "-l"}},
		{"plain, a byte below the limit", e2e.Noise(kv.MaxStored-1, 1), nil, nil},
		{"plain, at the limit", e2e.Noise(kv.MaxStored, 2), nil, nil},
		{"plain, a byte above the limit", e2e.Noise(kv.MaxStored+1, 3), nil, []string{"389121 bytes", "389120", "-z"}},
		{"the same, compressed", e2e.Noise(kv.MaxStored+1, 3), []string{"-z"}, nil},
		{"the same, as zstd", e2e.Noise(kv.MaxStored+1, 3), []string{"--encoding", "zstd"}, nil},
		{"as much as a node decodes", strings.Repeat("0123456789abcde\n", record.MaxPlain/16), []string{"-z"}, nil},
		{"a byte more", strings.Repeat("0123456789abcde\n", record.MaxPlain/16) + "x", []string{"-z"},
			[]string{"16777217 bytes", "16777216", "split"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := s.On(t)
			for _, k := range s.Keys("kvexpress/") {
				s.Remove(k)
			}
			m := e2e.NewMachine(t, s.Server.Addr)
			in := append([]string{"in", "-k", "hosts", "-f", m.File("source", c.content)}, c.args...)
			if !slices.Contains(in, "-l") {
				in = append(in, "-l", "1")
			}
			if c.refused != nil {
				m.Fails(6, c.refused, in...)
				if keys := s.Keys("kvexpress/"); len(keys) > 0 {
					t.Errorf("refused content left %v", keys)
				}
				return
			}
			m.Ok(in...)
			m.Ok("out", "-l", "1", "-k", "hosts", "-f", m.Path("hosts"))
			m.Holds("hosts", c.content)
		})
	}
}
