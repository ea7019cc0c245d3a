package fleet

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"kvexpress/internal/outcome"
)

const (
	// A node with an agent has no contact if its last receipt is older than lateAfter times the
	// promised interval, and grace.
	lateAfter = 2
	grace     = 30 * time.Second
	// A node without an agent promises nothing. It has no contact if it has not reported a version
	// outGrace after its publish.
	outGrace = 10 * time.Minute
	// DefaultExpiry is how long a node has no contact before it expires.
	DefaultExpiry = 24 * time.Hour
)

// Line is one node and one key.
type Line struct {
	Node    string          `json:"node"`
	Outcome outcome.Outcome `json:"outcome"`
	// Reported is the outcome that the node reported itself.
	Reported outcome.Outcome `json:"reported,omitempty"`
	File     string          `json:"file,omitempty"`
	Version  uint64          `json:"version,omitempty"` // in place
	By       string          `json:"by,omitempty"`      // who reported it: ByAgent or ByOut
	Since    Millis          `json:"since_ms"`          // for how long Reported has been so
	Detail   string          `json:"detail,omitempty"`  // why, in one line
	Output   string          `json:"output,omitempty"`  // of the command that failed, as far as a hub shows it
	LastSeen Millis          `json:"last_seen_ms"`      // how long ago it reported last
	// ClockOff is by how much the node's clock is ahead of the store's (or, below 0,
	// behind); 0 within two seconds.
	ClockOff Offset `json:"clock_off_ms,omitempty"`

	has                     bool           // the wanted version, or a later one
	published, onNode, exec *time.Duration // of the version that is wanted, where they are known
}

// scene is what each receipt is compared with.
type scene struct {
	live         Live
	wanted       Wanted
	now          time.Time // by the store's clock
	order        order
	publisherOff time.Duration // see off
	seenAt       *time.Time    // when a hub saw wanted; nil: unknown
	published    *time.Time    // the publish time of wanted; nil: unknown, or by a wrong clock
	hubClock     Offset        // see Roster
	age          time.Duration // of the live version, at most
	expiry       time.Duration
	restored     uint64 // rows with a lower index are from before a restore of the store; 0: there was none
}

// newScene converts all times to the store's clock.
func newScene(roster Roster, live Live, o Options) scene {
	s := scene{live: live, wanted: live.Wanted(), expiry: cmp.Or(o.Expiry, DefaultExpiry), restored: restored(roster.Nodes),
		hubClock: roster.hubClock}
	s.now = byStore(roster.Read, roster.ClockOffset)
	s.order = newOrder(roster.Nodes, live, s.now)
	if o.Wanted != nil {
		s.wanted = *o.Wanted
	}
	if m := live.Manifest; m != nil {
		s.publisherOff = s.off(m.PublishedAt, m.ClockOffset)
		s.age = possible(s.now.Sub(s.order.sent(live.Index, byStore(m.PublishedAt, m.ClockOffset))))
		if !o.Began.IsZero() {
			s.age = min(s.age, roster.Read.Sub(o.Began))
		}
		if m.Version == s.wanted.Version && m.Lineage == s.wanted.Lineage && m.ClockOffset != nil && s.publisherOff == 0 {
			s.published = &m.PublishedAt
		}
	}
	if seen, ok := roster.seen[live.Key]; ok && seen.SHA256 == s.wanted.SHA256 {
		s.published, s.seenAt = &seen.At, &seen.At
	}
	return s
}

// judge concludes the outcome of a node; ok is false if its receipt does not name the key. Of
// several files, the one with the worst outcome counts, of those that have contact.
func (s scene) judge(n Node) (worst Line, ok bool) {
	files := 0
	ours := func(t Target) bool { return t.Key == string(s.live.Key) }
	agents := slices.ContainsFunc(n.Receipt.Targets, func(t Target) bool { return ours(t) && t.By != ByOut })
	for _, t := range n.Receipt.Targets {
		if !ours(t) {
			continue
		}
		line := s.seen(n, t, s.line(n, t))
		if agents && t.By == ByOut && t.Outcome == outcome.Converged && line.Outcome == outcome.Outdated {
			continue // a copy by hand: the agent's files tell what this node has
		}
		files++
		if !ok || line.worseThan(worst) {
			worst, ok = line, true
		}
	}
	if files > 1 && worst.Outcome != outcome.Converged {
		worst.Detail = strings.TrimSuffix(worst.File+": "+worst.Detail, ": ")
	}
	return worst, ok
}

// worseThan orders the files of a node. Of two that are equally well, the slower one is worse.
func (l Line) worseThan(o Line) bool {
	a, b := outcomeRank(l.Outcome), outcomeRank(o.Outcome)
	return a > b || a == b && l.published != nil && (o.published == nil || *l.published > *o.published)
}

// outcomeRank ranks the outcomes of files. One without contact counts only if no file has contact.
func outcomeRank(o outcome.Outcome) int {
	if !o.Counted() {
		return -o.Rank()
	}
	return o.Rank()
}

// line is the outcome of one file as long as its node has contact.
func (s scene) line(n Node, t Target) Line {
	l := Line{Node: n.Name, Reported: t.Outcome, File: t.File, Version: t.Version, By: t.By, Since: t.Since, Detail: t.Detail,
		Output:   n.output(t),
		ClockOff: Offset(s.off(n.Receipt.Sent, n.Receipt.ClockOffset))}
	byHub := s.seenAt != nil && n.Index == 0 // publish and receipt are dated by one clock
	wrong := !byHub && (l.ClockOff != 0 || s.seenAt != nil && s.hubClock != 0)
	if n.Receipt.Hub != "" { // the hub has dated the receipt, not the node
		l.ClockOff = n.Receipt.NodeClock
	}
	has, lie := s.has(t)
	switch {
	case n.Index != 0 && n.Index < s.restored:
		l.Outcome, l.Detail = outcome.Unknown, "its receipt is from before the store was restored; wait for the next one"
		if t.By == ByOut {
			l.Detail = "its receipt is from before the store was restored; run `kvexpress out` there"
		}
	case lie != "":
		l.Outcome, l.Detail = outcome.Invalid, lie
	case !s.live.Exists:
		l.Outcome = outcome.Missing
	case !has:
		l.Outcome, l.Detail = s.lacks(t)
	case t.Outcome == "": // whether an exec is pending is in fields that we do not know
		l.Outcome, l.Detail = outcome.Unknown, "its receipt has no outcome: install this version of kvexpress on the node"
	case t.ExecPending:
		l.Outcome = outcome.Pending
	default:
		l.Outcome = outcome.Converged
	}
	if l.has = has && lie == ""; l.has && t.Placed != nil && t.Version == s.wanted.Version && t.SHA256 == s.wanted.SHA256 {
		onNode, exec := t.Placed.Steps.InPlace(), time.Duration(t.Placed.Steps.Exec)
		l.onNode = &onNode
		if exec > 0 {
			l.exec = &exec
		}
		if s.published != nil && !wrong && n.Receipt.ClockOffset != nil && !t.Placed.First {
			took := n.Receipt.Sent.Add(-time.Duration(t.Placed.Age)).Sub(*s.published)
			if took >= -ClockTolerance { // else one of the two clocks is wrong, which its store does not show
				took = max(0, took)
				l.published = &took
			}
		}
	}
	return l
}

// lacks is the outcome of a file that is not the wanted version: what the node reports, if that
// explains it.
func (s scene) lacks(t Target) (o outcome.Outcome, why string) {
	o = t.Outcome
	if o == outcome.Converged || o == outcome.Pending || !slices.Contains(reported, o) {
		o = outcome.Outdated
	}
	switch stopped := s.live.Stopped(); {
	case t.Detail == "" && t.Candidate:
		return o, fmt.Sprintf("it has version %d, the candidate of a rollout", t.Version)
	case t.Detail == "" && stopped:
		return o, "the key is stopped"
	case t.By == ByOut && o == outcome.Stopped && !stopped:
		return o, fmt.Sprintf("resumed, but `kvexpress out` has not run here since; `kvexpress resume -k %s` wakes Consul watches",
			s.live.Key)
	}
	return o, t.Detail
}

var reported = outcome.Reported() //nolint:gochecknoglobals // nothing changes it

// has reports whether a target has the wanted version. lie says how it contradicts the store:
// a version that was never published, or other content of that version.
func (s scene) has(t Target) (has bool, lie string) {
	w, top := s.wanted, s.live.Wanted()
	if w.Version == 0 || t.Version == 0 {
		return t.SHA256 != "" && t.SHA256 == w.SHA256, ""
	}
	if t.Lineage != w.Lineage {
		return false, ""
	}
	for _, v := range []Wanted{w, top} {
		if v.Lineage == t.Lineage && v.Version == t.Version && v.SHA256 != t.SHA256 {
			return false, fmt.Sprintf("it reports version %d with other content than was published", t.Version)
		}
	}
	if top.Lineage == t.Lineage && t.Version > top.Version && (t.Outcome == outcome.Older || t.Candidate) {
		return false, ""
	}
	if top.Lineage == t.Lineage && t.Version > top.Version {
		return false, fmt.Sprintf("it reports version %d, but the newest is %d", t.Version, top.Version)
	}
	return t.Version >= w.Version, ""
}

// seen adds when the target was reported last, and concludes that the node has no contact if that is
// long ago.
func (s scene) seen(n Node, t Target, l Line) Line {
	sent := byStore(n.Receipt.Sent, n.Receipt.ClockOffset)
	if !n.Receipt.Edited {
		sent = s.order.sent(n.Index, sent)
	}
	age := Millis(possible(s.now.Sub(sent)))
	l.Since += age
	if a := n.Receipt.Agent; a != nil && t.By != ByOut {
		l.LastSeen = age + a.Age
		if through := n.Receipt.Hub != "" && n.Index != 0; !through && l.LastSeen > lateAfter*a.Every+Millis(grace) {
			l.Outcome = s.lost(time.Duration(l.LastSeen))
		}
		return l
	}
	// An `out` reports when something changed, and promises nothing.
	l.LastSeen = l.Since
	told := time.Duration(l.Since)
	late := min(told, max(s.age, s.missed(t)))
	lacks := !l.has && l.Outcome != outcome.Unknown && l.Outcome != outcome.Invalid
	if lacks && late > outGrace && (told > s.age || t.Outcome == outcome.Converged) {
		l.Outcome = s.lost(late)
	}
	return l
}

// missed is how long ago the first version was published that a target has not reported; 0 if unknown.
func (s scene) missed(t Target) time.Duration {
	at := time.Time{}
	for _, p := range s.live.Past { // the newest first
		if t.Lineage == s.live.Wanted().Lineage && t.Version > 0 && t.Version < p.Version {
			at = p.At
		}
	}
	if at.IsZero() {
		return 0
	}
	return possible(s.now.Sub(at))
}

// restored is the index below which rows are from before a restore of the store. Two nodes must
// report it, or all but one: one node cannot lie about the others.
func restored(nodes []Node) uint64 {
	var lost []uint64
	valid := 0
	for _, n := range nodes {
		if n.Err != nil {
			continue
		}
		if valid++; n.Receipt.Lost < n.Index { // else the index is of another store
			lost = append(lost, n.Receipt.Lost)
		}
	}
	need := min(2, max(1, valid-1))
	if len(lost) < need {
		return 0
	}
	slices.Sort(lost)
	return lost[len(lost)-need]
}

// lost is the outcome of a node that is late by so much.
func (s scene) lost(late time.Duration) outcome.Outcome {
	if late > s.expiry {
		return outcome.Expired
	}
	return outcome.NoContact
}
