package fleet

import (
	"cmp"
	"math"
	"slices"
	"sync"
	"time"
)

// Report is what the receipts of all nodes come to for one key.
type Report struct {
	Key       string     `json:"key"`
	Exists    bool       `json:"exists"`
	Lineage   string     `json:"lineage,omitempty"`
	Version   uint64     `json:"version"` // that nodes are to have; 0: one that kvexpress 1.x wrote
	SHA256    string     `json:"sha256,omitempty"`
	Published *time.Time `json:"published,omitempty"` // by the publisher's clock
	By        string     `json:"by,omitempty"`
	Message   string     `json:"message,omitempty"`

	Nodes   int `json:"nodes"`   // that count: they reported this key, and are not silent
	Arrived int `json:"arrived"` // of those, how many have the version and owe nothing
	Owed    int `json:"owed"`    // have it, and their exec has yet to succeed
	Behind  int `json:"behind"`
	Unsound int `json:"unsound"` // say something that cannot be
	Silent  int `json:"silent"`  // do not count
	Gone    int `json:"gone"`    // do not count, and are not listed

	// Stragglers are the nodes that count and have not arrived, and SilentNodes
	// those that are silent, sorted by name.
	Stragglers  []Line `json:"stragglers"`
	SilentNodes []Line `json:"silent_nodes"`
	// Unread are receipts that cannot be used: nobody knows what they are about.
	Unread []Unread `json:"unread"`
	// Omitted are nodes with more targets than fit into a receipt. Whether one of those
	// that were left out is of this key, nobody knows.
	Omitted int `json:"omitted,omitempty"`

	// Delivered is the time from the publish until the file was in place, OnNode its
	// part on the node from when it had the news, and Exec what came after.
	Delivered Percentiles `json:"delivered"`
	OnNode    Percentiles `json:"on_node"`
	Exec      Percentiles `json:"exec"`
	// Unmeasured are nodes that have the version, and of which it is not known how
	// long it took: clocks are wrong, or the version was there before they reported.
	Unmeasured int `json:"unmeasured"`
	// Clocks are those that contradict the order of the store's writes: of nodes, of
	// the publisher ("publisher") and of this machine ("here").
	Clocks []ClockOff `json:"clocks"`
	// ClocksUnsure: too many clocks contradict each other to tell which are right.
	ClocksUnsure bool `json:"clocks_unsure,omitempty"`
}

// Unread is a receipt that cannot be used.
type Unread struct {
	Node string `json:"node"`
	Why  string `json:"why"`
}

// ClockOff is a clock that is wrong by more than two seconds.
type ClockOff struct {
	Node string        `json:"node,omitempty"`
	Who  string        `json:"who"` // "node", "publisher" or "here"
	Off  time.Duration `json:"off_ns"`
}

// Percentiles are of one time for each node, by the nearest rank.
type Percentiles struct {
	Count int    `json:"count"`
	P50   Millis `json:"p50_ms"`
	P90   Millis `json:"p90_ms"`
	P99   Millis `json:"p99_ms"`
	Last  Millis `json:"last_ms"`
	// LastNode is the node that took longest.
	LastNode string `json:"last_node,omitempty"`
}

// Share is how many of the nodes that count have arrived, from 0 to 1; 0 if none
// counts.
func (r Report) Share() float64 {
	if r.Nodes == 0 {
		return 0
	}
	return float64(r.Arrived) / float64(r.Nodes)
}

// Options say how receipts are looked at.
type Options struct {
	Gone time.Duration // how long a node is silent before it is left out; 0: DefaultGone
	// Wanted is the version that nodes are to have; nil: the one that stands.
	Wanted *Wanted
}

// Examine tells what the receipts of a roster come to for what stands under a key.
func Examine(roster Roster, standing Standing, o Options) Report {
	s := newScene(roster, standing, o)
	r := Report{
		Key: string(standing.Key), Exists: standing.Exists,
		Lineage: s.wanted.Lineage, Version: s.wanted.Version, SHA256: s.wanted.SHA256,
		Stragglers: []Line{}, SilentNodes: []Line{}, Unread: []Unread{}, Clocks: []ClockOff{},
		ClocksUnsure: !s.clock.certain,
	}
	if m := standing.Manifest; m != nil && m.Version == s.wanted.Version && m.Lineage == s.wanted.Lineage {
		r.Published, r.By, r.Message = &m.PublishedAt, m.By, m.Message
	}
	var delivered, onNode, exec []timed
	for _, n := range roster.Nodes {
		if n.Err != nil {
			r.Unread = append(r.Unread, Unread{n.Name, n.Err.Error()})
			continue
		}
		if n.Receipt.Omitted > 0 {
			r.Omitted++
		}
		l, ok := s.judge(n)
		if !ok {
			continue
		}
		r.count(l)
		if l.Verdict == Gone {
			continue
		}
		if l.ClockOff != 0 {
			r.Clocks = append(r.Clocks, ClockOff{l.Node, "node", l.ClockOff})
		}
		delivered, onNode, exec = l.time(l.published, delivered), l.time(l.onNode, onNode), l.time(l.exec, exec)
		if (l.Verdict == Arrived || l.Verdict == Owed) && l.published == nil {
			r.Unmeasured++
		}
	}
	r.Clocks = append(r.Clocks, s.others(roster, standing)...)
	r.Delivered, r.OnNode, r.Exec = percentiles(delivered), percentiles(onNode), percentiles(exec)
	return r
}

// ExamineAll does so for several keys.
func ExamineAll(roster Roster, standings []Standing, o Options) []Report {
	all := make([]Report, len(standings))
	sharedOut(len(all), 1, func(i int) { all[i] = Examine(roster, standings[i], o) })
	return all
}

func (r *Report) count(l Line) {
	switch l.Verdict {
	case Arrived:
		r.Arrived++
	case Owed:
		r.Owed++
	case Behind:
		r.Behind++
	case Unsound:
		r.Unsound++
	case Silent:
		r.Silent++
		r.SilentNodes = append(r.SilentNodes, l)
		return
	case Gone:
		r.Gone++
		return
	}
	r.Nodes++
	if l.Verdict != Arrived {
		r.Stragglers = append(r.Stragglers, l)
	}
}

// Here is the place of what happens now in the order of the store's writes: after all.
const here = math.MaxUint64

// newScene compares all clocks: those of the nodes, the publisher's and ours. The latter
// counts a little more, so that of two machines alone ours is right. The publisher's does
// not: one that is behind would outvote the last straggler.
func newScene(roster Roster, standing Standing, o Options) scene {
	all := []moment{{index: here, at: roster.Read, weight: 3}}
	if m := standing.Manifest; m != nil {
		all = append(all, moment{index: standing.Index, at: m.PublishedAt})
	}
	var nodes []moment
	for _, n := range roster.Nodes {
		if n.Err == nil {
			nodes = append(nodes, n.moment())
		}
	}
	// What was written since our first look shows whether our clock is ahead.
	all = append(all, nodes...)
	if roster.before != nil {
		all = append(all, *roster.before)
	}
	s := scene{standing: standing, wanted: standing.Current(), clock: newClock(all), gone: cmp.Or(o.Gone, DefaultGone)}
	s.now, _, _, _ = s.clock.when(all[0])
	s.soonest = s.now
	if s.clock.likely != nil {
		s.soonest = s.clock.soonest(s.now, all[0], nodes)
	}
	if o.Wanted != nil {
		s.wanted = *o.Wanted
	}
	if m := standing.Manifest; m != nil && m.Version == s.wanted.Version && m.Lineage == s.wanted.Lineage {
		at, give, _, ok := s.clock.when(moment{index: standing.Index, at: m.PublishedAt})
		s.published, s.dated = at, ok && give <= maxGive
	}
	s.stood = sync.OnceValue(func() time.Duration { return s.stoodFor(roster.Nodes) })
	return s
}

// others are the clocks that are not of a node.
func (s scene) others(roster Roster, standing Standing) []ClockOff {
	var off []ClockOff
	looks := []moment{{index: here, at: roster.Read}}
	if roster.before != nil {
		looks = append(looks, *roster.before)
	}
	for _, ours := range looks {
		if _, _, by, _ := s.clock.when(ours); by != 0 {
			off = append(off, ClockOff{Who: "here", Off: by})
			break
		}
	}
	if m := standing.Manifest; m != nil {
		if _, _, by, _ := s.clock.when(moment{index: standing.Index, at: m.PublishedAt}); by != 0 {
			off = append(off, ClockOff{Who: "publisher", Off: by})
		}
	}
	return off
}

// timed is how long something took on a node.
type timed struct {
	node string
	took time.Duration
}

func (l Line) time(took *time.Duration, all []timed) []timed {
	if took == nil {
		return all
	}
	return append(all, timed{l.Node, *took})
}

func percentiles(all []timed) Percentiles {
	if len(all) == 0 {
		return Percentiles{}
	}
	slices.SortFunc(all, func(a, b timed) int { return cmp.Compare(a.took, b.took) })
	rank := func(p float64) Millis {
		return Millis(all[max(0, int(math.Ceil(p*float64(len(all))))-1)].took)
	}
	last := all[len(all)-1]
	return Percentiles{
		Count: len(all), P50: rank(0.5), P90: rank(0.9), P99: rank(0.99),
		Last: Millis(last.took), LastNode: last.node,
	}
}
