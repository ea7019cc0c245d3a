package fleet

import (
	"slices"
	"time"

	"kvexpress/internal/outcome"
)

// missing is since when nodes have been missing, by key and node. A version that stands
// for a minute only, and is followed by the next, would hide a node that gets none of
// them: so each node has a time of its own, from look to look.
type missing map[string]map[string]time.Time

// note takes in what a look found for a key, and returns for how long that node has been
// missing that is missing longest; 0 if all have arrived. Who is held back on purpose does
// not count.
func (m missing) note(r Report, now time.Time) (oldest time.Duration) {
	before, after := m[r.Key], map[string]time.Time{}
	for _, l := range r.Stragglers {
		if l.Outcome != outcome.Invalid && slices.Contains([]outcome.Outcome{outcome.Stopped, outcome.Locked, outcome.Waiting}, l.Reported) {
			continue
		}
		since := now.Add(-missed(r, l))
		if seen, ok := before[l.Node]; ok && seen.Before(since) {
			since = seen
		}
		after[l.Node] = since
		oldest = max(oldest, now.Sub(since))
	}
	m[r.Key] = after
	return oldest
}

// keep forgets all other keys.
func (m missing) keep(keys map[string]bool) {
	for key := range m {
		if !keys[key] {
			delete(m, key)
		}
	}
}

// missed is how long a node has been missing for all that a single look can tell. In
// trouble it is for as long as it has been in that state. Otherwise, as with one that has
// not heard of the version, it is not for longer than the version stands.
func missed(r Report, l Line) time.Duration {
	inState := time.Duration(l.Since)
	switch l.Reported {
	case outcome.Refused, outcome.Failed, outcome.Pending, outcome.Missing, outcome.Denied, outcome.Older, outcome.Unreachable:
		return inState
	}
	return min(inState, time.Duration(r.Ago))
}
