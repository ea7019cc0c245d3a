package e2e

import (
	"strings"
	"testing"

	"kvexpress/internal/codec"
	"kvexpress/internal/kv"
)

// Sizes at each limit, on real Consul: what is let through arrives, what is not
// is refused before anything is written, and says what to do.
func TestSizes(t *testing.T) {
	t.Parallel()
	s, _ := start(t)
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
		{"as many lines as asked for", text("x", 10), []string{"-l", "10"}, nil},
		{"one line less", text("x", 9), []string{"-l", "10"}, []string{"9 lines", "at least 10", "-l"}},
		{"plain, a byte below the limit", noise(kv.MaxStored-1, 1), nil, nil},
		{"plain, at the limit", noise(kv.MaxStored, 2), nil, nil},
		{"plain, a byte above the limit", noise(kv.MaxStored+1, 3), nil, []string{"389121 bytes", "389120", "-z"}},
		{"the same, compressed", noise(kv.MaxStored+1, 3), []string{"-z"}, nil},
		{"the same, as zstd", noise(kv.MaxStored+1, 3), []string{"--encoding", "zstd"}, nil},
		{"too large even compressed", noise(2*kv.MaxStored, 4), []string{"-z"}, []string{"even as brotli", "389120", "split"}},
		{"as much as a node decodes", strings.Repeat("0123456789abcde\n", codec.MaxPlain/16), []string{"-z"}, nil},
		{"a byte more", strings.Repeat("0123456789abcde\n", codec.MaxPlain/16) + "x", []string{"-z"}, []string{"16777217 bytes", "16777216", "split"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := s.on(t)
			for _, k := range s.keys("kvexpress/") {
				s.remove(k)
			}
			m := newMachine(t, s.server.Addr)
			in := append([]string{"in", "-k", "hosts", "-l", "1", "-f", m.file("source", c.content)}, c.args...)
			if c.refused != nil {
				m.fails(6, c.refused, in...)
				if keys := s.keys("kvexpress/"); len(keys) > 0 {
					t.Errorf("refused content left %v", keys)
				}
				return
			}
			m.ok(in...)
			m.ok("out", "-l", "1", "-k", "hosts", "-f", m.path("hosts"))
			m.holds("hosts", c.content)
		})
	}
}

// The largest content fits into one transaction with the longest of names and
// messages around it.
func TestLargestTransaction(t *testing.T) {
	t.Parallel()
	s, m := start(t)
	prefix := strings.Repeat("p", kv.MaxPrefixLen)
	key := strings.Repeat("k", 100) + "/" + strings.Repeat("k", kv.MaxKeyLen-101)
	message := strings.Repeat("<", kv.MaxMessage)
	for v := 1; v <= 12; v++ { // past the first pruning
		m.ok("in", "-p", prefix, "-k", key, "-m", message, "-f", m.file("source", noise(kv.MaxStored, uint64(v))))
	}
	m.ok("out", "-p", prefix, "-k", key, "-f", m.path("hosts"))
	m.holds("hosts", noise(kv.MaxStored, 12))
	if got := s.manifest(prefix + "/" + key + "/manifest").Version; got != 12 {
		t.Errorf("version %d stands, want 12", got)
	}
	if got := s.keys(prefix + "/.history/"); len(got) != 20 {
		t.Errorf("history has %d rows, want those of 10 versions", len(got))
	}
}

// Empty data that somebody else wrote never blanks a file.
func TestEmptyDataIsNotDelivered(t *testing.T) {
	t.Parallel()
	s, m := start(t)
	m.file("hosts", "kept\n")
	for _, key := range []string{"with", "without"} {
		s.put("kvexpress/"+key+"/data", "", 0)
	}
	s.put("kvexpress/with/checksum", sum(""), 0)
	m.fails(6, []string{"with", "empty"}, "out", "-l", "0", "-k", "with", "-f", m.path("hosts"))
	m.fails(6, []string{"without"}, "out", "-l", "0", "-k", "without", "-f", m.path("hosts"))
	m.fails(6, []string{"empty"}, "raw", "-l", "0", "-k", "kvexpress/with/data", "-f", m.path("hosts"))
	m.fails(5, []string{"absent"}, "out", "-l", "0", "-k", "absent", "-f", m.path("hosts"))
	m.holds("hosts", "kept\n")
}
