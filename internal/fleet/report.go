package fleet

import (
	"cmp"
	"errors"
	"math"
	"slices"
	"time"

	"kvexpress/internal/outcome"
)

// Report is the state of one key in the whole fleet.
type Report struct {
	Key       string     `json:"key"`
	Exists    bool       `json:"exists"`
	Lineage   string     `json:"lineage,omitempty"`
	Version   uint64     `json:"version"` // that nodes should have; 0: kvexpress 1.x wrote it
	SHA256    string     `json:"sha256,omitempty"`
	Published *time.Time `json:"published_at,omitempty"` // by the store's clock, within the tolerance
	Ago       Millis     `json:"published_ago_ms,omitempty"`
	// Seen is when a hub saw the version, by its clock; nil: the receipts are not from a hub, or it was live before. Delivery times
	// count from it.
	Seen    *time.Time `json:"seen_at,omitempty"`
	By      string     `json:"by,omitempty"`
	Message string     `json:"message,omitempty"`

	Nodes     int `json:"nodes"`     // counted: they report this key, and have contact
	Converged int `json:"converged"` // of Nodes
	// Outcomes is how many nodes have each outcome, without those of none. All but NoContact and
	// Expired add up to Nodes.
	Outcomes map[outcome.Outcome]int `json:"outcomes"`

	// Stragglers are counted nodes that have not converged, NoContact those without contact that
	// have not expired. Both are sorted by name.
	Stragglers []Line `json:"stragglers"`
	NoContact  []Line `json:"no_contact"`
	// Unread are receipts that cannot be read: their nodes are not in Outcomes.
	Unread []Unread `json:"unread"`
	// LeftOut are the nodes whose receipts were not read, see ErrLeftOut.
	LeftOut []string `json:"left_out,omitempty"`
	// Omitted are nodes with more targets than fit into a receipt. The omitted targets may be
	// of this key.
	Omitted int `json:"omitted,omitempty"`

	// Delivered is the time from the publish until the file was in place, OnNode its part on the
	// node from when it had the news, and Exec the time of the exec.
	Delivered Percentiles `json:"delivered"`
	OnNode    Percentiles `json:"on_node"`
	Exec      Percentiles `json:"exec"`
	// Unmeasured is how many nodes have the version, but an unknown delivery time: clocks are
	// wrong, or the version was in place before they reported.
	Unmeasured int `json:"unmeasured"`
	// Clocks are more than two seconds off the store's clock.
	Clocks []ClockOff `json:"clocks"`

	// Lines are all nodes that report the key, but those that have expired, sorted by name; nil without Options.Lines.
	Lines []Line `json:"-"`
}

// Unread is a receipt that cannot be read.
type Unread struct {
	Node string `json:"node"`
	Why  string `json:"why"`
}

// ClockOff is a clock that is wrong by more than two seconds.
type ClockOff struct {
	Node string `json:"node,omitempty"`
	Who  string `json:"who"` // "node", "publisher", "hub" or "here"
	Off  Offset `json:"off_ms"`
}

// Percentiles are over one time for each node, by the nearest rank.
type Percentiles struct {
	Count int    `json:"count"`
	P50   Millis `json:"p50_ms"`
	P90   Millis `json:"p90_ms"`
	P99   Millis `json:"p99_ms"`
	// Slowest is the longest time, and SlowestNode its node.
	Slowest     Millis `json:"slowest_ms"`
	SlowestNode string `json:"slowest_node,omitempty"`
}

// Share is how many of the counted nodes have converged, from 0 to 1; 0 if none is counted.
func (r Report) Share() float64 {
	if r.Nodes == 0 {
		return 0
	}
	return float64(r.Converged) / float64(r.Nodes)
}

// Options of Examine.
type Options struct {
	Expiry time.Duration // how long a node has no contact before it expires; 0: DefaultExpiry
	Wanted *Wanted       // the version that nodes should have; nil: the live one
	Lines  bool          // list all nodes in Report.Lines
	// Began is when the version was published, with a monotonic reading; zero: unknown.
	Began time.Time
}

// Delivered is the time from the publish of the wanted version until the file was in place; false if it is not known.
func (l Line) Delivered() (time.Duration, bool) {
	if l.published == nil {
		return 0, false
	}
	return *l.published, true
}

// delivery is how long a version took to one node.
type delivery struct {
	node string
	took time.Duration
}

// ExamineAll does so for several keys.
func ExamineAll(roster Roster, all []Live, o Options) []Report {
	reports := make([]Report, len(all))
	parallel(len(all), func(i int) { reports[i] = Examine(roster, all[i], o) })
	return reports
}

// Examine concludes the state of one key from all receipts.
func Examine(roster Roster, live Live, o Options) Report {
	s := newScene(roster, live, o)
	r := Report{
		Key: string(live.Key), Exists: live.Exists, Lineage: s.wanted.Lineage, Version: s.wanted.Version, SHA256: s.wanted.SHA256,
		Outcomes: map[outcome.Outcome]int{}, Stragglers: []Line{}, NoContact: []Line{}, Unread: []Unread{}, Clocks: []ClockOff{},
	}
	if m := live.Manifest; m != nil && m.Version == s.wanted.Version && m.Lineage == s.wanted.Lineage {
		published := byStore(m.PublishedAt, m.ClockOffset)
		r.Published, r.Ago, r.By, r.Message = &published, Millis(possible(s.now.Sub(published))), m.By, m.Message
	}
	r.Seen = s.seenAt
	var delivered, onNode, exec []delivery
	for _, n := range roster.Nodes {
		switch {
		case errors.Is(n.Err, ErrLeftOut):
			r.LeftOut = append(r.LeftOut, n.Name)
			continue
		case n.Err != nil:
			r.Unread = append(r.Unread, Unread{n.Name, n.Err.Error()})
			continue
		case n.Receipt.Omitted > 0:
			r.Omitted++
		}
		l, ok := s.judge(n)
		if !ok {
			continue
		}
		r.count(l)
		if l.Outcome == outcome.Expired || !live.Exists {
			continue
		}
		if o.Lines {
			r.Lines = append(r.Lines, l)
		}
		if l.ClockOff != 0 {
			r.Clocks = append(r.Clocks, ClockOff{l.Node, "node", l.ClockOff})
		}
		delivered, onNode, exec = l.add(l.published, delivered), l.add(l.onNode, onNode), l.add(l.exec, exec)
		if (l.Outcome == outcome.Converged || l.Outcome == outcome.Pending) && l.published == nil {
			r.Unmeasured++
		}
	}
	if s.publisherOff != 0 {
		r.Clocks = append(r.Clocks, ClockOff{Who: "publisher", Off: Offset(s.publisherOff)})
	}
	if roster.hubClock != 0 {
		r.Clocks = append(r.Clocks, ClockOff{Who: "hub", Off: roster.hubClock})
	}
	if off := skew(roster.ClockOffset); off != 0 {
		r.Clocks = append(r.Clocks, ClockOff{Who: "here", Off: Offset(off)})
	}
	r.Delivered, r.OnNode, r.Exec = percentiles(delivered), percentiles(onNode), percentiles(exec)
	return r
}

func (r *Report) count(l Line) {
	r.Outcomes[l.Outcome]++
	switch l.Outcome {
	case outcome.NoContact:
		r.NoContact = append(r.NoContact, l)
		return
	case outcome.Expired:
		return
	case outcome.Converged:
		r.Converged++
	default:
		if r.Exists {
			r.Stragglers = append(r.Stragglers, l)
		}
	}
	r.Nodes++
}

func (l Line) add(took *time.Duration, all []delivery) []delivery {
	if took == nil {
		return all
	}
	return append(all, delivery{l.Node, *took})
}

// percentiles sorts them, the shortest first.
func percentiles(all []delivery) Percentiles {
	if len(all) == 0 {
		return Percentiles{}
	}
	slices.SortFunc(all, func(a, b delivery) int { return cmp.Or(cmp.Compare(a.took, b.took), cmp.Compare(a.node, b.node)) })
	rank := func(p float64) Millis {
		return Millis(all[max(0, int(math.Ceil(p*float64(len(all))))-1)].took)
	}
	last := all[len(all)-1]
	return Percentiles{
		Count: len(all), P50: rank(0.5), P90: rank(0.9), P99: rank(0.99),
		Slowest: Millis(last.took), SlowestNode: last.node,
	}
}
