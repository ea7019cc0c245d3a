package difftest

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"pgregory.net/rapid"

	"kvexpress/internal/testutil/consultest"
)

// TestMain keeps rapid from writing files of failed cases, because a case in testdata
// says more, and from shrinking them: Smaller does that, with the same result on every
// machine. The sequences are the same in every run,
// so that a failure tells of the change that was made and not of luck; the soak, which
// searches for new differences, draws others each time. -rapid.seed has the last word.
func TestMain(m *testing.M) {
	seed := "1"
	if os.Getenv("KVEXPRESS_SOAK") == "1" {
		seed = "0" // another one each time
	}
	if err := errors.Join(
		flag.Set("rapid.nofailfile", "true"), flag.Set("rapid.shrinktime", "0s"),
		flag.Set("rapid.seed", seed), flag.Set("rapid.checks", "20000"), // more than random needs
	); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// consul is a real server that answers as one in production does: not in
// Consul's development mode, which lays out JSON in another way.
func consul(t *testing.T) string {
	t.Helper()
	return consultest.Start(t, consultest.WithData()).Addr
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
	found := map[string]string{} // the report on a sequence: rapid runs a failed one again, to print it
	rapid.Check(t, func(rt *rapid.T) {
		if s.Steps()-from >= steps && len(found) == 0 {
			return
		}
		seq := sequences(25).Draw(rt, "sequence")
		if found[seq.String()] == "" {
			err := s.Run(rt.Context(), seq)
			if err == nil {
				return
			}
			found[seq.String()] = tell(rt, s, seq, err)
		}
		rt.Log(found[seq.String()])
		rt.Fatal("the servers differ")
	})
	n := s.Steps() - from
	if n < steps {
		t.Errorf("only %d steps were compared, want %d", n, steps)
	}
	t.Logf("%d steps, %.0f a second", n, float64(n)/time.Since(began).Seconds())
}

// tell makes the sequence small, and reports how the servers differ.
func tell(t *rapid.T, s *Servers, seq Sequence, err error) string {
	small, smallErr := s.Smaller(t.Context(), seq)
	if small == nil {
		return fmt.Sprintf("%v\nbut not when it comes first:\n%s", err, seq)
	}
	return fmt.Sprintf("%v\nthe sequence, to be kept in testdata/cases:\n%s", smallErr, small)
}

// full is a number of steps, or of anything: in the soak all of it, else a tenth.
func full(n int) int {
	if os.Getenv("KVEXPRESS_SOAK") == "1" {
		return n
	}
	return max(1, n/10)
}
