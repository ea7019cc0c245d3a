package fleet

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/kv"
	"kvexpress/internal/outcome"
)

// scenario is a key whose version 5 was published a minute ago, and nodes.
type scenario struct {
	live  Live
	nodes []Node
	now   time.Time
	here  time.Duration // by how much our clock is ahead
}

const publishedAt = 1 << 40 // in the order of the store

func newScenario() *scenario {
	m := &kv.Manifest{Lineage: "l", Version: 5, SHA256: sha(5), PublishedAt: start(), ClockOffset: new(int64)}
	m.By, m.Message = "me@here", "why"
	return &scenario{
		live: Live{Key: "hosts", Exists: true, SHA256: sha(5), Manifest: m, Index: publishedAt},
		now:  start().Add(time.Minute),
	}
}

// has is a target that has a version of the key in place.
func has(version uint64) Target {
	return Target{By: ByAgent, Key: "hosts", File: "/etc/hosts", Lineage: "l", Version: version, SHA256: sha(int(version)),
		Outcome: outcome.Converged}
}

// but changes a target.
func (t Target) but(change func(*Target)) Target { change(&t); return t }

// node adds one that reported so long ago, and its place in the order.
func (s *scenario) node(ago time.Duration, agent bool, targets ...Target) *Node {
	n := Node{Name: fmt.Sprintf("web-%d", len(s.nodes)), Index: uint64(publishedAt + 100_000 - ago/time.Second)}
	if sent := s.now.Add(-ago); sent.Before(start()) {
		n.Index = uint64(publishedAt - start().Sub(sent)/time.Second)
	}
	n.Receipt = Receipt{Format: Format, Node: n.Name, Sent: s.now.Add(-ago), ClockOffset: offset(0), Targets: targets}
	if agent {
		n.Receipt.Agent = &Agent{Version: "2", Every: Millis(5 * time.Minute)}
	}
	s.nodes = append(s.nodes, n)
	return &s.nodes[len(s.nodes)-1]
}

func (s *scenario) examine() Report {
	return Examine(Roster{Nodes: s.nodes, Read: s.now.Add(s.here), ClockOffset: offset(s.here)}, s.live, Options{})
}

// counts is how many nodes have which outcome: "3 converged, 1 no_contact, 1 unreadable".
func counts(r Report) string {
	var parts []string
	for _, row := range outcome.All() {
		if n := r.Outcomes[row.Outcome]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, row.Outcome))
		}
	}
	if n := len(r.Unread); n > 0 {
		parts = append(parts, fmt.Sprintf("%d unreadable", n))
	}
	return strings.Join(parts, ", ")
}

func TestOutcomes(t *testing.T) {
	older := func(t *Target) { t.Lineage = "another" }
	for name, tt := range map[string]struct {
		target Target
		want   outcome.Outcome
		detail string
	}{
		"has it":                       {has(5), outcome.Converged, ""},
		"exec pending":                 {has(5).but(func(t *Target) { t.ExecPending = true }), outcome.Pending, ""},
		"has the one before":           {has(4).but(func(t *Target) { t.Since = Millis(time.Hour) }), outcome.Outdated, ""},
		"the one before, exec pending": {has(4).but(func(t *Target) { t.ExecPending = true }), outcome.Outdated, ""},
		"has nothing": {Target{By: ByAgent, Key: "hosts", Outcome: outcome.Refused, Detail: "too short"}, outcome.Refused,
			"too short"},
		"has a version of another key's life":       {has(5).but(older), outcome.Outdated, ""},
		"has a later one of another life":           {has(9).but(older), outcome.Outdated, ""},
		"has its bytes, from 1.x":                   {has(5).but(func(t *Target) { t.Lineage, t.Version = "", 0 }), outcome.Converged, ""},
		"has other bytes, from 1.x":                 {has(4).but(func(t *Target) { t.Lineage, t.Version = "", 0 }), outcome.Outdated, ""},
		"claims it, with other bytes":               {has(5).but(func(t *Target) { t.SHA256 = sha(1) }), outcome.Invalid, "other content"},
		"claims it, without bytes":                  {has(5).but(func(t *Target) { t.SHA256 = "" }), outcome.Invalid, "other content"},
		"has one that was never published":          {has(6), outcome.Invalid, "the newest is 5"},
		"has the last of all":                       {has(1<<64 - 1), outcome.Invalid, "the newest is 5"},
		"does not follow a store back":              {has(6).but(func(t *Target) { t.Outcome, t.Detail = outcome.Older, "b" }), outcome.Older, "b"},
		"has the candidate of a rollout":            {has(6).but(func(t *Target) { t.Candidate = true }), outcome.Outdated, "version 6, the candidate"},
		"had it before it was current":              {has(5).but(func(t *Target) { t.Candidate = true }), outcome.Converged, ""},
		"lies, exec pending":                        {has(6).but(func(t *Target) { t.ExecPending = true }), outcome.Invalid, "the newest is 5"},
		"a word that is none of ours":               {has(4).but(func(t *Target) { t.Outcome = "levitating" }), outcome.Outdated, ""},
		"a word that only readers conclude":         {has(4).but(func(t *Target) { t.Outcome = outcome.Expired }), outcome.Outdated, ""},
		"has it, in the words of another kvexpress": {has(5).but(func(t *Target) { t.Outcome = "" }), outcome.Unknown, "no outcome"},
		"locked, and has the one before":            {has(4).but(func(t *Target) { t.Outcome = outcome.Locked }), outcome.Locked, ""},
		"locked, and has it":                        {has(5).but(func(t *Target) { t.Outcome = outcome.Locked }), outcome.Converged, ""},
		"current, by its own word, with an old":     {has(3).but(func(t *Target) { t.Outcome = outcome.Converged }), outcome.Outdated, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScenario()
			s.node(time.Second, true, tt.target)
			r := s.examine()
			all := r.Stragglers
			if tt.want == outcome.Converged {
				if r.Converged != 1 || r.Nodes != 1 || len(all) != 0 {
					t.Fatalf("%+v", r)
				}
				return
			}
			if r.Converged != 0 || r.Nodes != 1 || len(all) != 1 || all[0].Outcome != tt.want ||
				!strings.Contains(all[0].Detail, tt.detail) || all[0].Since != tt.target.Since+Millis(time.Second) {
				t.Fatalf("%+v", r)
			}
		})
	}
	t.Run("nothing of this key", func(t *testing.T) {
		s := newScenario()
		s.node(time.Second, true, has(5).but(func(t *Target) { t.Key = "hosts2" }))
		s.node(time.Second, true)
		if r := s.examine(); counts(r) != "" || r.Share() != 0 {
			t.Errorf("%+v", r)
		}
	})
}

// A version of 1.x has no number: its bytes count.
func TestOutcomesOfAnUnmanagedVersion(t *testing.T) {
	s := newScenario()
	s.live.Manifest = nil
	s.node(time.Second, true, has(5)) // the same bytes, as a version of ours
	s.node(time.Second, true, has(5).but(func(t *Target) { t.Lineage, t.Version = "", 0 }))
	s.node(time.Second, true, has(4))
	s.node(time.Second, true, has(0).but(func(t *Target) { t.SHA256 = "" }))
	if r := s.examine(); counts(r) != "2 converged, 2 outdated" || r.Published != nil {
		t.Errorf("%s: %+v", counts(r), r)
	}
	s.live.SHA256 = "" // no reliable claim
	if r := s.examine(); counts(r) != "4 outdated" {
		t.Errorf("of a version without a checksum: %s", counts(r))
	}
}

// A wait for a version counts a later one too, but not one with contradicting bytes.
func TestOutcomesOfASupersededVersion(t *testing.T) {
	s := newScenario()
	for _, target := range []Target{has(5), has(4), has(3), has(6), has(4).but(func(t *Target) { t.SHA256 = sha(1) }),
		has(5).but(func(t *Target) { t.SHA256 = sha(1) })} {
		s.node(time.Second, true, target)
	}
	r := Examine(Roster{Nodes: s.nodes, Read: s.now}, s.live, Options{Wanted: &Wanted{Lineage: "l", Version: 4, SHA256: sha(4)}})
	if counts(r) != "2 converged, 1 outdated, 3 invalid" || r.Version != 4 || r.Published != nil || r.Delivered.Count != 0 {
		t.Errorf("%s: %+v", counts(r), r)
	}
}

// Of several files of a key the one with the worst outcome counts, and is named. The longest
// delivery time counts.
func TestSeveralFilesOfOneKey(t *testing.T) {
	file := func(name string, t Target) Target { t.File = name; return t }
	pending := has(5).but(func(t *Target) { t.ExecPending = true })
	placed := func(name string, ago time.Duration) Target {
		return file(name, has(5).but(func(t *Target) { t.Placed = &Placed{Age: Millis(ago)} }))
	}
	s := newScenario()
	s.node(time.Second, true, placed("/a", 58*time.Second), placed("/b", 2*time.Second))
	s.node(time.Second, true, placed("/b", 3*time.Second), placed("/a", 58*time.Second))
	if d := s.examine().Delivered; d.Count != 2 || d.Slowest != Millis(57*time.Second) || d.P50 != Millis(56*time.Second) {
		t.Errorf("delivered %+v", d)
	}
	for _, tt := range []struct {
		targets []Target
		outcome outcome.Outcome
		file    string
	}{
		{[]Target{file("/a", has(5)), file("/b", pending)}, outcome.Pending, "/b"},
		{[]Target{file("/a", pending), file("/b", has(4)), file("/c", has(5))}, outcome.Outdated, "/b"},
		{[]Target{file("/a", has(6)), file("/b", has(4))}, outcome.Invalid, "/a"},
		{[]Target{file("/a", has(4)), file("/b", has(3))}, outcome.Outdated, "/a"},
	} {
		s := newScenario()
		s.node(time.Second, true, tt.targets...)
		if r := s.examine(); r.Nodes != 1 || len(r.Stragglers) != 1 || r.Stragglers[0].Outcome != tt.outcome ||
			r.Stragglers[0].File != tt.file || !strings.HasPrefix(r.Stragglers[0].Detail, tt.file) {
			t.Errorf("want %s because of %s: %+v", tt.outcome, tt.file, r.Stragglers)
		}
	}
}

// Nodes without contact do not count. A node without an agent has no contact only after it
// missed a version that it should have reported.
func TestNoContact(t *testing.T) {
	const late = 2*5*time.Minute + 30*time.Second
	for name, tt := range map[string]struct {
		ago, age time.Duration // since the receipt, and the agent's part of it
		agent    bool
		target   Target
		since    time.Duration // the publish, if not a minute
		want     string
	}{
		"just in time":                   {late - time.Second, 0, true, has(4), 0, "1 outdated"},
		"late":                           {late + time.Second, 0, true, has(4), 0, "1 no_contact"},
		"late, and has it":               {late + time.Second, 0, true, has(5), 0, "1 no_contact"},
		"late, and lies":                 {late + time.Second, 0, true, has(6), 0, "1 no_contact"},
		"an out keeps the receipt young": {time.Second, late, true, has(4), 0, "1 no_contact"},
		"a day late":                     {25 * time.Hour, 0, true, has(4), 0, "1 expired"},
		"out, and there":                 {30 * day, 0, false, has(5), 0, "1 converged"},
		"out, a minute after":            {30 * day, 0, false, has(4), 0, "1 outdated"},
		"out, a quarter after":           {30 * day, 0, false, has(4), 15 * time.Minute, "1 no_contact"},
		"out, it reported meanwhile":     {time.Minute, 0, false, has(4), 15 * time.Minute, "1 outdated"},
		"out, two days after":            {30 * day, 0, false, has(4), 2 * day, "1 expired"},
		"out, exec pending": {30 * day, 0, false, has(5).but(func(t *Target) { t.ExecPending = true }), 2 * day,
			"1 pending"},
		"an age that cannot be": {time.Second, century, true, has(4), 0, "1 expired"},
		"sent before our time":  {250 * 365 * day, century, true, has(4), 0, "1 expired"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScenario()
			if tt.since != 0 {
				s.live.Manifest.PublishedAt = s.now.Add(-tt.since)
			}
			n := s.node(tt.ago, tt.agent, tt.target)
			if n.Index = publishedAt + 1; n.Receipt.Sent.Before(s.live.Manifest.PublishedAt) {
				n.Index = publishedAt - 1
			}
			if tt.agent {
				n.Receipt.Agent.Age = Millis(tt.age)
			}
			r := s.examine()
			if counts(r) != tt.want {
				t.Errorf("%s, want %s: %+v", counts(r), tt.want, r)
			}
			for _, l := range append(r.Stragglers, r.NoContact...) {
				if l.LastSeen < 0 || tt.agent && (time.Duration(l.LastSeen)-tt.ago-tt.age).Abs() > time.Second {
					t.Errorf("heard %s ago", time.Duration(l.LastSeen))
				}
			}
		})
	}
}

// Each target of a node counts by itself, by who reported it and when: here, twenty minutes after
// the publish.
func TestContactIsOfATarget(t *testing.T) {
	out := func(version uint64, since time.Duration, o outcome.Outcome) Target {
		return has(version).but(func(t *Target) { t.By, t.File, t.Since, t.Outcome = ByOut, "/tmp/copy", Millis(since), o })
	}
	const none = -1
	for name, tt := range map[string]struct {
		ago, age time.Duration // since the receipt, and the agent's part of it, if there is one
		targets  []Target
		want     string // see counts
	}{
		"a copy by hand beside an agent":       {time.Minute, 0, []Target{has(5), out(4, time.Minute, outcome.Converged)}, "1 converged"},
		"an out of long ago beside an agent":   {time.Minute, 0, []Target{has(5), out(4, time.Hour, outcome.Converged)}, "1 converged"},
		"the control: of this very version":    {time.Minute, 0, []Target{has(5), out(4, time.Minute, outcome.Refused)}, "1 refused"},
		"an out where an agent was":            {time.Minute, 3 * time.Hour, []Target{out(5, 0, outcome.Converged)}, "1 converged"},
		"the control: the agent's own":         {time.Minute, 3 * time.Hour, []Target{has(5)}, "1 no_contact"},
		"an out, refused after the publish":    {18 * time.Minute, none, []Target{out(4, 0, outcome.Refused)}, "1 refused"},
		"an out, refused before it":            {30 * time.Minute, none, []Target{out(4, 0, outcome.Refused)}, "1 no_contact"},
		"an out of the old one, as it changed": {18 * time.Minute, none, []Target{out(4, 0, outcome.Converged)}, "1 no_contact"},
	} {
		s := newScenario()
		s.now = start().Add(20 * time.Minute)
		n := s.node(tt.ago, tt.age != none, tt.targets...)
		if tt.age != none {
			n.Receipt.Agent.Age = Millis(tt.age)
		}
		if got := counts(s.examine()); got != tt.want {
			t.Errorf("%s: counts %s, want %s", name, got, tt.want)
		}
	}
}

// Clocks that are wrong are named and left out of the times, and change no count: of ten
// nodes one, web-9, has converged, nine are outdated, and two more have no contact.
func TestClocksADayOff(t *testing.T) {
	type wrong = func(s *scenario, told bool)
	node := func(i int, off time.Duration) wrong {
		return func(s *scenario, told bool) {
			r := &s.nodes[i].Receipt
			if r.Sent = r.Sent.Add(off); told {
				r.ClockOffset = offset(off)
			}
		}
	}
	publisher := func(off time.Duration) wrong {
		return func(s *scenario, told bool) {
			m := s.live.Manifest
			if m.PublishedAt = m.PublishedAt.Add(off); told {
				m.ClockOffset = offset(off)
			}
		}
	}
	here := func(off time.Duration) wrong { return func(s *scenario, _ bool) { s.here = off } }
	says := func(offset *int64) wrong {
		return func(s *scenario, _ bool) { s.nodes[9].Receipt.ClockOffset = offset }
	}
	huge := int64(math.MaxInt64)
	for name, tt := range map[string]struct {
		wrong wrong
		want  string // if stores show the offset
		not   string // if the stores of nodes and publisher do not
	}{
		"none":                              {here(0), "timed", "timed"},
		"ours, ahead":                       {here(day), "timed here 24h0m0s", "timed here 24h0m0s"},
		"ours, behind":                      {here(-day), "timed here -24h0m0s", "timed here -24h0m0s"},
		"the publisher's, ahead":            {publisher(day), "publisher 24h0m0s", "publisher 23h59m0s"},
		"the publisher's, behind":           {publisher(-day), "publisher -24h0m0s", "timed"},
		"of a converged node, ahead":        {node(9, day), "node 24h0m0s", "node 23h59m30s"},
		"of a converged node, behind":       {node(9, -day), "node -24h0m0s", ""},
		"of a converged node, 2 s ahead":    {node(9, ClockTolerance), "timed", "timed"},
		"of a converged node, 3 s ahead":    {node(9, 3*time.Second), "node 3s", "timed"},
		"of an outdated node, ahead":        {node(3, day), "timed node 24h0m0s", "timed node 23h57m57s"},
		"of an outdated node, behind":       {node(3, -day), "timed node -24h0m0s", "timed"},
		"of a node without contact, ahead":  {node(10, day), "timed node 24h0m0s", "timed node 23h19m0s, counts"},
		"of a node without contact, behind": {node(10, -day), "timed node -24h0m0s", "timed"},
		"that cannot be":                    {says(&huge), "node 876000h0m0s", "node 876000h0m0s"},
		"unknown, of nodes that have it":    {says(nil), "", ""},
		"not known, the publisher's":        {func(s *scenario, _ bool) { s.live.Manifest.ClockOffset = nil }, "", ""},
	} {
		for _, told := range []bool{true, false} {
			s := newScenario()
			for i := range 9 {
				s.node(2*time.Minute+time.Duration(i)*time.Second, true, has(4))
			}
			s.node(30*time.Second, true, has(5).but(func(t *Target) { t.Placed = &Placed{Age: Millis(29 * time.Second)} }))
			s.node(41*time.Minute, true, has(4))
			s.node(42*time.Minute, true, has(4))
			tt.wrong(s, told)
			r := s.examine()
			var got []string
			if r.Delivered.Count == 1 && r.Unmeasured == 0 {
				got = append(got, "timed")
			}
			for _, c := range r.Clocks {
				got = append(got, c.Who, time.Duration(c.Off).String())
			}
			want, how := tt.want, "1 converged, 9 outdated, 2 no_contact"
			if !told {
				want = tt.not
			}
			want, counted := strings.CutSuffix(want, ", counts")
			if counted {
				how = "1 converged, 10 outdated, 1 no_contact"
			}
			if text := strings.Join(got, " "); text != want || counts(r) != how {
				t.Errorf("%s (told %t): %s, %s, want %s, %s", name, told, text, counts(r), want, how)
			}
		}
	}
}
