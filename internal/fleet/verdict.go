package fleet

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Verdict says in one stable word what a node's receipt means for a version of a key.
// The words stand in JSON output and in metrics: they never change.
type Verdict string

// The verdicts. Of the nodes that count, some have Arrived; Silent and Gone ones do
// not count.
const (
	Arrived Verdict = "arrived" // it has the version, or a later one, and owes nothing
	Owed    Verdict = "owed"    // the bytes are in place, the exec has yet to succeed
	Behind  Verdict = "behind"  // it has another version, or none
	Unsound Verdict = "unsound" // what it says cannot be
	Silent  Verdict = "silent"  // it did not report for longer than it promised
	Gone    Verdict = "gone"    // it has been silent for so long that it is left out
)

const (
	// silentAfter is how many times the promised interval a node may be late, and
	// grace how much longer, before it is silent.
	silentAfter = 2
	grace       = 30 * time.Second
	// outGrace is how long after a publish a node without an agent is silent, which
	// promises nothing.
	outGrace = 10 * time.Minute
	// DefaultGone is how long a node is silent before it is left out.
	DefaultGone = 24 * time.Hour
	// maxGive is the uncertainty up to which a time is told.
	maxGive = time.Second
)

// Wanted is the version that nodes are to have.
type Wanted struct {
	Lineage string
	Version uint64 // 0: one that kvexpress 1.x wrote
	SHA256  string
}

// Current is the version that stands.
func (s Standing) Current() Wanted {
	return Wanted{Lineage: s.lineage(), Version: s.Version(), SHA256: s.SHA256}
}

// Line is what is told of one node.
type Line struct {
	Node    string  `json:"node"`
	Verdict Verdict `json:"verdict"`
	File    string  `json:"file,omitempty"`
	Version uint64  `json:"version,omitempty"` // in place
	State   string  `json:"state,omitempty"`   // in the agent's words
	Since   Millis  `json:"since_ms"`          // how long it has been in that state
	Detail  string  `json:"detail,omitempty"`  // why, in one line
	Heard   Millis  `json:"heard_ms"`          // how long ago it reported last
	// ClockOff is by how much the node's clock is ahead (or, below 0, behind), as
	// far as it is known to be wrong.
	ClockOff time.Duration `json:"clock_off_ns,omitempty"`

	published, onNode, exec *time.Duration // of the version that is wanted, where they are known
}

// scene is what all receipts are held against.
type scene struct {
	standing  Standing
	wanted    Wanted
	clock     clock
	now       time.Time
	soonest   time.Time            // when it is at least, whosever clock is wrong
	published time.Time            // by the sound clocks
	dated     bool                 // published is known
	stood     func() time.Duration // for how long what stands has been in place, see stoodFor
	gone      time.Duration
}

// moment is a receipt's place in the order of the store's writes.
func (n Node) moment() moment { return moment{index: n.Index, at: n.Receipt.Sent} }

// judge is what the receipt of a node means; ok is false if it says nothing about the
// key. Of several files, the one that is worst off counts, of those that are not silent.
func (s scene) judge(n Node) (worst Line, ok bool) {
	files := 0
	for _, t := range n.Receipt.Targets {
		if t.Key != string(s.standing.Key) {
			continue
		}
		line := s.heard(n, t, s.line(n, t))
		files++
		if !ok || line.worseThan(worst) {
			worst, ok = line, true
		}
	}
	if files > 1 && worst.Verdict != Arrived {
		worst.Detail = strings.TrimSuffix(worst.File+": "+worst.Detail, ": ")
	}
	return worst, ok
}

// worseThan says whose word counts for the node: of those that are equally well, that of
// the one that took longer.
func (l Line) worseThan(o Line) bool {
	a, b := l.Verdict.badness(), o.Verdict.badness()
	return a > b || a == b && l.published != nil && (o.published == nil || *l.published > *o.published)
}

// badness ranks what a target can be. What is silent counts for a node only if all is.
func (v Verdict) badness() int {
	return slices.Index([]Verdict{Gone, Silent, Arrived, Owed, Behind, Unsound}, v)
}

func (s scene) line(n Node, t Target) Line {
	l := Line{Node: n.Name, File: t.File, Version: t.Version, State: t.State, Since: t.Since, Detail: t.Detail}
	has, lie := s.has(t)
	switch {
	case lie != "":
		l.Verdict, l.Detail = Unsound, lie
	case !has:
		l.Verdict = Behind
		if l.Detail == "" && s.standing.Stopped() {
			l.Detail = "the key is stopped"
		}
	case t.Owed:
		l.Verdict = Owed
	default:
		l.Verdict = Arrived
	}
	if has && lie == "" && t.Placed != nil && t.Version == s.wanted.Version && t.SHA256 == s.wanted.SHA256 {
		onNode, exec := t.Placed.Steps.InPlace(), time.Duration(t.Placed.Steps.Exec)
		l.onNode = &onNode
		if exec > 0 {
			l.exec = &exec
		}
		at, give, _, ok := s.clock.when(n.moment())
		if ok && give <= maxGive && s.dated && !t.Placed.First {
			took := at.Add(-time.Duration(t.Placed.Age)).Sub(s.published)
			if took >= -tolerance { // else a clock was set between two receipts
				took = max(0, took)
				l.published = &took
			}
		}
	}
	return l
}

// has tells whether a target has the version that is wanted, and what is wrong with
// what it says of itself: a version that was never published, or other bytes than
// those of that version.
func (s scene) has(t Target) (has bool, lie string) {
	w, top := s.wanted, s.standing.Current()
	if w.Version == 0 || t.Version == 0 {
		return t.SHA256 != "" && t.SHA256 == w.SHA256, ""
	}
	if t.Lineage != w.Lineage {
		return false, ""
	}
	for _, v := range []Wanted{w, top} {
		if v.Lineage == t.Lineage && v.Version == t.Version && v.SHA256 != t.SHA256 {
			return false, fmt.Sprintf("it says that it has version %d, with other bytes than were published", t.Version)
		}
	}
	if top.Lineage == t.Lineage && t.Version > top.Version && t.State == stateOlder {
		return false, ""
	}
	if top.Lineage == t.Lineage && t.Version > top.Version {
		return false, fmt.Sprintf("it says that it has version %d, and the newest is %d", t.Version, top.Version)
	}
	return t.Version >= w.Version, ""
}

// heard adds when the target was reported last, and what follows if that is long ago.
func (s scene) heard(n Node, t Target, l Line) Line {
	at, _, off, _ := s.clock.when(n.moment())
	l.ClockOff = off
	// Silent is who must be, whosever clock is wrong. Nobody is left out because of
	// one, so that a fleet is never taken for arrived for want of those who are behind.
	kindest := s.since(n.moment())
	age := possible(s.now.Sub(at))
	if s.clock.likely != nil {
		age = min(age, kindest)
	}
	l.Since += Millis(age)
	if a := n.Receipt.Agent; a != nil && t.By != ByOut {
		l.Heard = Millis(age) + a.Age
		if late := kindest + time.Duration(a.Age); late > silentAfter*time.Duration(a.Every)+grace {
			l.Verdict = s.away(late)
		}
		return l
	}
	// An `out` reports when it has something to say, and promises nothing.
	l.Heard = l.Since
	told, publish := kindest+time.Duration(t.Since), s.sincePublish()
	if l.Verdict == Behind && publish > outGrace && (told > publish || t.State == stateCurrent) {
		l.Verdict = s.away(min(told, publish))
	}
	return l
}

// since is how long ago a moment was, at least.
func (s scene) since(m moment) time.Duration {
	return possible(s.soonest.Sub(s.clock.kindest(m)))
}

// stoodFor is for how long nodes have had what stands, by each one's own word, which takes
// no clock: half of them say at least so long.
func (s scene) stoodFor(nodes []Node) time.Duration {
	var all []time.Duration
	top := s.standing.Current()
	for _, n := range nodes {
		for _, t := range n.Receipt.Targets {
			if t.Key == string(s.standing.Key) && t.SHA256 == top.SHA256 && t.Version == top.Version && t.Placed != nil {
				all = append(all, s.since(n.moment())+time.Duration(t.Placed.Age))
			}
		}
	}
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[(len(all)-1)/2]
}

// sincePublish is how long what stands has been there, at least: as long as others
// have had it, or have reported since, whatever the publisher's clock says.
func (s scene) sincePublish() time.Duration {
	_, to := s.clock.around(s.standing.Index)
	switch m := s.standing.Manifest; {
	case !to.IsZero() && to.Before(s.now):
		return max(s.stood(), possible(s.soonest.Sub(to)))
	case m != nil:
		return s.since(moment{index: s.standing.Index, at: m.PublishedAt})
	}
	return 0
}

func (s scene) away(late time.Duration) Verdict {
	if late > s.gone {
		return Gone
	}
	return Silent
}
