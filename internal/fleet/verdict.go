package fleet

import (
	"fmt"
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
	published time.Time // by the sound clocks
	dated     bool      // published is known
	gone      time.Duration
}

// moment is a receipt's place in the order of the store's writes.
func (n Node) moment() moment { return moment{index: n.Index, at: n.Receipt.Sent} }

// judge is what the receipt of a node means; ok is false if it says nothing about the
// key. Of several files, the one that is worst off counts.
func (s scene) judge(n Node) (worst Line, ok bool) {
	rank := map[Verdict]int{Arrived: 0, Owed: 1, Behind: 2, Unsound: 3}
	for _, t := range n.Receipt.Targets {
		if t.Key != string(s.standing.Key) {
			continue
		}
		line := s.line(n, t)
		if !ok || rank[line.Verdict] > rank[worst.Verdict] {
			worst, ok = line, true
		}
	}
	if !ok {
		return worst, false
	}
	return s.heard(n, worst), true
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
			took := max(0, at.Add(-time.Duration(t.Placed.Age)).Sub(s.published))
			l.published = &took
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
	if top.Lineage == t.Lineage && t.Version > top.Version {
		return false, fmt.Sprintf("it says that it has version %d, and the newest is %d", t.Version, top.Version)
	}
	return t.Version >= w.Version, ""
}

// heard adds when the node reported last, and what follows if that is long ago. A
// node that is alive and says something that cannot be stays that.
func (s scene) heard(n Node, l Line) Line {
	at, give, off, _ := s.clock.when(n.moment())
	l.ClockOff = off
	age := max(0, s.now.Sub(at))
	kindest := max(0, age-give) // silent is who must be, whatever the clocks say
	a := n.Receipt.Agent
	if a == nil {
		l.Heard = Millis(age)
		late := kindest
		if s.dated {
			late = min(late, s.now.Sub(s.published))
		}
		if l.Verdict == Behind && late > outGrace {
			l.Verdict = s.away(late)
		}
		return l
	}
	l.Heard = Millis(age) + a.Age
	if late := kindest + time.Duration(a.Age); late > silentAfter*time.Duration(a.Every)+grace {
		l.Verdict = s.away(late)
	}
	return l
}

func (s scene) away(late time.Duration) Verdict {
	if late > s.gone {
		return Gone
	}
	return Silent
}
