package fleet

import (
	"strings"
	"testing"
	"time"

	"kvexpress/internal/outcome"
)

// An `out` that has missed a version for ten minutes has no contact from then on, and is not outdated again
// with each publish. Here the current one is a minute old.
func TestOneOffIsNotOutdatedForEver(t *testing.T) {
	before := func(ago time.Duration, versions ...uint64) (all []Past) {
		for i, v := range versions {
			all = append(all, Past{v, start().Add(-time.Duration(i+1) * ago)})
		}
		return all
	}
	for name, tt := range map[string]struct {
		past    []Past
		version uint64
		want    string // see counts
	}{
		"it missed one, half an hour ago":     {before(30*time.Minute, 4, 3, 2), 3, "1 no_contact"},
		"it missed many, one a minute":        {before(time.Minute, 4, 3, 2), 1, "1 outdated"},
		"the same, long enough":               {before(4*time.Minute, 4, 3, 2), 1, "1 no_contact"},
		"the control: it missed none":         {before(30*time.Minute, 4, 3, 2), 4, "1 outdated"},
		"the control: both in the last while": {before(time.Minute, 4, 3), 3, "1 outdated"},
		"the history is denied":               {nil, 3, "1 outdated"},
	} {
		s := newScenario()
		s.live.Past = tt.past
		s.node(2*time.Hour, false, has(tt.version).but(func(t *Target) { t.By = ByOut }))
		if got := counts(s.examine()); got != tt.want {
			t.Errorf("%s: counts %s, want %s", name, got, tt.want)
		}
	}
}

// If a key is not published, it is missing on all nodes.
func TestRetiredKey(t *testing.T) {
	s := newScenario()
	s.live = Live{Key: "hosts"}
	s.node(time.Second, true, has(5))
	s.node(time.Second, false, has(4).but(func(t *Target) { t.By = ByOut }))
	if r := s.examine(); counts(r) != "2 missing" || r.Nodes != 2 || len(r.Stragglers) > 0 {
		t.Errorf("%+v", r)
	}
}

// Receipts from before a restore prove nothing, by the word of two nodes, or of all but one. The rest
// of a receipt does not matter.
func TestRestoredReceipts(t *testing.T) {
	const before, after = publishedAt + 1000, publishedAt + 100_000
	for name, tt := range map[string]struct {
		lost [3]uint64 // of three nodes that have reported since
		want string    // see counts: of these, and of one with a receipt from before
	}{
		"no node lost a receipt": {[3]uint64{}, "4 converged"},
		"two did":                {[3]uint64{before + 10, before + 10, 0}, "3 converged, 1 unknown"},
		"one says so alone":      {[3]uint64{before + 10, 0, 0}, "4 converged"},
		"another store's":        {[3]uint64{after + 999_999, after + 999_999, 0}, "4 converged"},
		"it was written after":   {[3]uint64{before - 10, before - 10, 0}, "4 converged"},
	} {
		s := newScenario()
		for _, lost := range tt.lost {
			n := s.node(time.Second, true, has(5))
			n.Index, n.Receipt.Lost = after, lost
		}
		s.node(30*time.Second, false, has(5).but(func(t *Target) { t.By = ByOut })).Index = before
		r := s.examine()
		if got := counts(r); got != tt.want {
			t.Errorf("%s: counts %s, want %s", name, got, tt.want)
		}
		for _, l := range r.Stragglers {
			if l.Outcome == outcome.Unknown && !strings.Contains(l.Detail, "`kvexpress out`") { // without an agent, waiting does not help
				t.Errorf("%s: the remedy is %q", name, l.Detail)
			}
		}
	}
}
