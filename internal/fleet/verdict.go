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
	Stale   Verdict = "unknown" // it has not reported since the store was restored from a snapshot
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
)

// Wanted is the version that nodes are to have.
type Wanted struct {
	Lineage string
	Version uint64 // 0: one that kvexpress 1.x wrote
	SHA256  string
}

// Current is the version that stands.
func (s Standing) Current() Wanted {
	w := Wanted{SHA256: s.SHA256}
	if s.Manifest != nil {
		w.Lineage, w.Version = s.Manifest.Lineage, s.Manifest.Version
	}
	return w
}

// Line is what is told of one node.
type Line struct {
	Node    string  `json:"node"`
	Verdict Verdict `json:"verdict"`
	File    string  `json:"file,omitempty"`
	Version uint64  `json:"version,omitempty"` // in place
	By      string  `json:"by,omitempty"`      // who says so: ByAgent or ByOut
	State   string  `json:"state,omitempty"`   // in the agent's words
	Since   Millis  `json:"since_ms"`          // how long it has been in that state
	Detail  string  `json:"detail,omitempty"`  // why, in one line
	Heard   Millis  `json:"heard_ms"`          // how long ago it reported last
	// ClockOff is by how much the node's clock is ahead of the store's (or, below 0,
	// behind); 0 within two seconds.
	ClockOff time.Duration `json:"clock_off_ns,omitempty"`

	published, onNode, exec *time.Duration // of the version that is wanted, where they are known
}

// scene is what all receipts are held against.
type scene struct {
	standing     Standing
	wanted       Wanted
	now          time.Time // by the store's clock
	order        order
	publisherOff time.Duration // see off
	published    *time.Time    // what is wanted, by a clock that can be relied on; nil: by none
	stood        time.Duration // for how long what stands has been there, at most
	gone         time.Duration
	restored     uint64 // rows with a lower index are from before a restore of the store; 0: there was none
}

// judge is what the receipt of a node means; ok is false if it says nothing about the
// key. Of several files, the one that is worst off counts, of those that are not silent.
func (s scene) judge(n Node) (worst Line, ok bool) {
	files := 0
	ours := func(t Target) bool { return t.Key == string(s.standing.Key) }
	agents := slices.ContainsFunc(n.Receipt.Targets, func(t Target) bool { return ours(t) && t.By != ByOut })
	for _, t := range n.Receipt.Targets {
		if !ours(t) {
			continue
		}
		line := s.heard(n, t, s.line(n, t))
		if agents && t.By == ByOut && t.State == stateCurrent && line.Verdict == Behind {
			continue // somebody's copy: the agent's files tell what this node has
		}
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
	return slices.Index([]Verdict{Gone, Silent, Arrived, Owed, Stale, Behind, Unsound}, v)
}

func (s scene) line(n Node, t Target) Line {
	l := Line{Node: n.Name, File: t.File, Version: t.Version, By: t.By, State: t.State, Since: t.Since, Detail: t.Detail,
		ClockOff: s.off(n.Receipt.Sent, n.Receipt.ClockOffset)}
	has, lie := s.has(t)
	switch {
	case n.Index < s.restored:
		l.Verdict, l.Detail = Stale, "its receipt is from before the store was restored; its next one tells what it has"
	case lie != "":
		l.Verdict, l.Detail = Unsound, lie
	case !has:
		l.Verdict = Behind
		switch stopped := s.standing.Stopped(); {
		case l.Detail == "" && stopped:
			l.Detail = "the key is stopped"
		case t.By == ByOut && t.State == stateStopped && !stopped:
			l.Detail = fmt.Sprintf("the stop is lifted, and it has not run `kvexpress out` since: `kvexpress resume -k %s` wakes "+
				"Consul watches", s.standing.Key)
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
		if s.published != nil && l.ClockOff == 0 && n.Receipt.ClockOffset != nil && !t.Placed.First {
			took := n.Receipt.Sent.Add(-time.Duration(t.Placed.Age)).Sub(*s.published)
			if took >= -tolerance { // else one of the two clocks is wrong, which its store does not tell
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
	sent := byStore(n.Receipt.Sent, n.Receipt.ClockOffset)
	if !n.Receipt.Edited {
		sent = s.order.sent(n.Index, sent)
	}
	age := Millis(possible(s.now.Sub(sent)))
	l.Since += age
	if a := n.Receipt.Agent; a != nil && t.By != ByOut {
		l.Heard = age + a.Age
		if l.Heard > silentAfter*a.Every+Millis(grace) {
			l.Verdict = s.away(time.Duration(l.Heard))
		}
		return l
	}
	// An `out` reports when it has something to say, and promises nothing.
	l.Heard = l.Since
	told := time.Duration(l.Since)
	late := min(told, max(s.stood, s.missed(t)))
	if l.Verdict == Behind && late > outGrace && (told > s.stood || t.State == stateCurrent) {
		l.Verdict = s.away(late)
	}
	return l
}

// missed is how long ago the first version was published that a target has not reported; 0 if that is
// not known.
func (s scene) missed(t Target) time.Duration {
	at := time.Time{}
	for _, p := range s.standing.Past { // the newest first
		if t.Lineage == s.standing.Current().Lineage && t.Version > 0 && t.Version < p.Version {
			at = p.At
		}
	}
	if at.IsZero() {
		return 0
	}
	return possible(s.now.Sub(at))
}

// restored is the index that separates what was written before the store was restored, by the word of two
// nodes, or of all but one: one alone tells lies about no other.
func restored(nodes []Node) uint64 {
	var lost []uint64
	sound := 0
	for _, n := range nodes {
		if n.Err != nil {
			continue
		}
		if sound++; n.Receipt.Lost < n.Index { // else it is of another store
			lost = append(lost, n.Receipt.Lost)
		}
	}
	need := min(2, max(1, sound-1))
	if len(lost) < need {
		return 0
	}
	slices.Sort(lost)
	return lost[len(lost)-need]
}

func (s scene) away(late time.Duration) Verdict {
	if late > s.gone {
		return Gone
	}
	return Silent
}
