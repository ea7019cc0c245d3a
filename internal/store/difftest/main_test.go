package difftest

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"kvexpress/internal/consultest"
)

// TestMain keeps rapid from writing files of what failed: a case in testdata
// says more, and how long it looks for a smaller one.
func TestMain(m *testing.M) {
	if err := errors.Join(flag.Set("rapid.nofailfile", "true"), flag.Set("rapid.shrinktime", "4s")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// node is the name of both servers' node.
const node = "difftest"

// consul is a real server that answers as one in production does: not in
// Consul's development mode, which lays out JSON in another way.
func consul(t *testing.T) string {
	t.Helper()
	return consultest.Start(t, consultest.WithData(), consultest.WithConfig(map[string]any{"node_name": node})).Addr
}

func servers(t *testing.T, ref, sub string) *Servers {
	t.Helper()
	s := New(ref, sub)
	t.Cleanup(s.Close)
	return s
}

// random runs random sequences until that many steps were compared.
func random(t rapid.TB, s *Servers, steps int) {
	t.Helper()
	from, began := s.Steps(), time.Now()
	for s.Steps()-from < steps && !t.Failed() {
		rapid.Check(t, func(rt *rapid.T) {
			if s.Steps()-from >= steps && !t.Failed() {
				return
			}
			check(rt, s, sequences(25).Draw(rt, "sequence"))
		})
	}
	n := s.Steps() - from
	t.Logf("%d steps, %.0f a second", n, float64(n)/time.Since(began).Seconds())
}

// check runs a sequence a second time when the servers differed, as if it were the
// first: what then shows no difference hangs on what came before, and rapid
// must not take it for smaller.
func check(t *rapid.T, s *Servers, seq Sequence) {
	t.Helper()
	first := s.Run(t.Context(), seq)
	if first == nil {
		return
	}
	err := s.Run(t.Context(), seq)
	if err == nil {
		t.Fatalf("%v\nbut not when it comes first:\n%s", first, indent(seq.String()))
	}
	t.Logf("%v\nthe sequence, to be kept in testdata/cases:\n%s", err, indent(seq.String()))
	t.Fatal("the servers differ") // the same words each time: else rapid takes it for another failure, and does not shrink
}

func indent(s string) string {
	return "    " + strings.ReplaceAll(strings.TrimSpace(s), "\n", "\n    ")
}

// full is a number of steps, or of anything: in the soak all of it, else a tenth.
func full(n int) int {
	if os.Getenv("KVEXPRESS_SOAK") == "1" {
		return n
	}
	return max(1, n/10)
}
