package fleet

import (
	"time"

	"kvexpress/internal/outcome"
)

// missing is since when nodes have not been converged, by key and node. It is kept from scan to scan:
// if each version is live for a minute only, a node that gets none of them is missing for hours,
// although no single scan shows it.
type missing map[string]map[string]time.Time

// note takes in a report, and returns for how long the worst straggler has been missing. A node that
// is stopped, locked or waiting does not count: that is deliberate.
func (m missing) note(r Report, now time.Time) (oldest time.Duration) {
	before, after := m[r.Key], map[string]time.Time{}
	for _, l := range r.Stragglers {
		switch l.Reported {
		case outcome.Stopped, outcome.Locked, outcome.Waiting:
			if l.Outcome != outcome.Invalid {
				continue
			}
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

// keep drops all other keys.
func (m missing) keep(keys map[string]bool) {
	for key := range m {
		if !keys[key] {
			delete(m, key)
		}
	}
}

// missed is for how long a node has been missing, as far as a single scan shows. A node in trouble has
// been missing as long as it reports that; any other node not longer than the version is live.
func missed(r Report, l Line) time.Duration {
	since := time.Duration(l.Since)
	switch l.Reported {
	case outcome.Refused, outcome.Failed, outcome.Pending, outcome.Missing, outcome.Denied, outcome.Older, outcome.Unreachable:
		return since
	}
	return min(since, time.Duration(r.Ago))
}
