package fleet

import (
	"cmp"
	"io"
	"runtime"
	"slices"
	"strconv"
	"time"

	"kvexpress/internal/observe"
)

const (
	// MaxAge is for how long what was seen is told after nothing more can be seen. What
	// is said to be well and is not known to be is worse than nothing.
	MaxAge = 5 * time.Minute
	// MaxPerNode is how many nodes are named, with Metrics.PerNode.
	MaxPerNode = 1000
	// ScanLimit is how much longer than its wait a scan may take in all. Each of its
	// requests has its own limit, which is the store's.
	ScanLimit = time.Minute
)

// Metrics is all that the metrics of the fleet are made of.
type Metrics struct {
	Version   string
	Started   time.Time
	Every     time.Duration
	States    []string
	PerNode   bool
	Last      *Scan // that succeeded; nil: none did yet
	Failed    error // why the last one did not; nil: it did
	Good, Bad uint64
}

// up reports whether the last look succeeded, and is not older than it should be.
func (v Metrics) up(now time.Time) bool {
	return v.Last != nil && v.Failed == nil && now.Sub(v.Last.Taken) <= v.Every+ScanLimit
}

// Write writes them in Prometheus' text format. now is the time of
// the scrape.
//
// A time that is not known is 0. The times of nodes are left out where none is known,
// and so is all of the fleet when the last look is older than MaxAge.
func (v Metrics) Write(w io.Writer, now time.Time) error {
	m := promWriter{observe.NewProm(w)}
	m.Family("kvexpress_build_info", observe.Gauge, "What runs here; always 1.")
	m.Sample(1, observe.With("version", v.Version), observe.With("goversion", runtime.Version()))
	m.one("up", "1 if the last look at the fleet succeeded.", observe.Truth(v.up(now)))
	seen, age := time.Time{}, now.Sub(v.Started)
	if v.Last != nil {
		seen, age = v.Last.Taken, now.Sub(v.Last.Taken)
	}
	m.one("last_look_timestamp_seconds", "When the fleet was last seen, in Unix seconds; 0 if it was not yet.",
		observe.Seconds(seen))
	m.one("last_look_age_seconds", "How long ago that was, at the time of the scrape; since the start if it was not yet.",
		max(0, age.Seconds()))
	m.Family(prefix+"looks_total", observe.Counter, "Looks at the fleet, by result: ok or failed.")
	m.Sample(float64(v.Good), observe.With("result", "ok"))
	m.Sample(float64(v.Bad), observe.With("result", "failed"))
	if v.Last != nil && age <= MaxAge {
		m.fleet(*v.Last)
		m.keys(v.Last.Keys)
		m.times(v.Last.Keys)
		m.stragglers(v.Last.Keys, v.States)
		if v.PerNode {
			m.nodes(v.Last.Keys)
		}
	}
	return m.End()
}

const prefix = "kvexpress_fleet_"

type promWriter struct{ *observe.PromWriter }

// one writes a family of one sample without labels.
func (m promWriter) one(name, help string, value float64) {
	m.One(prefix+name, observe.Gauge, help, value)
}

func (m promWriter) fleet(l Scan) {
	m.one("look_duration_seconds", "How long the last look took, from when the receipts had come.", l.Took.Seconds())
	m.one("receipts", "Nodes that have a receipt.", float64(l.Receipts))
	m.one("receipts_unread", "Of those, receipts that cannot be used.", float64(l.Unread))
	m.one("locks", "Files that are locked, on all nodes.", float64(l.Locks))
	m.one("clocks_off", "Clocks that are more than 2 s off the store's.", float64(l.ClocksOff))
	m.one("keys", "Keys that are told of: published, stopped, or reported by a node.", float64(len(l.Keys)))
	m.one("keys_unread", "Keys that could not be read, and are not told of.", float64(l.KeysUnread))
	m.one("keys_left_out", "Keys that are not told of because there are too many.", float64(l.KeysLeftOut))
}

// keys writes what every key has.
func (m promWriter) keys(keys []ScannedKey) {
	for _, f := range []struct {
		name string
		help string
		of   func(ScannedKey) float64
	}{
		{"published", "1 if the key is published, 0 if it is only stopped or reported.",
			func(k ScannedKey) float64 { return observe.Truth(k.Exists) }},
		{"version", "Version that nodes are to have, within its lineage; 0 for one without a number.",
			func(k ScannedKey) float64 { return float64(k.Version) }},
		{"published_timestamp_seconds", "When that was published, in Unix seconds by the store's clock; 0 if it is not known.",
			func(k ScannedKey) float64 { return observe.Seconds(timeOf(k.Published)) }},
		{"nodes", "Nodes that count: they reported the key, and are not silent.", func(k ScannedKey) float64 { return float64(k.Nodes) }},
		{"nodes_arrived", "Of those, nodes that have the version and owe nothing.", func(k ScannedKey) float64 { return float64(k.Arrived) }},
		{"nodes_owed", "Nodes that have the version, and whose exec has yet to succeed.",
			func(k ScannedKey) float64 { return float64(k.Owed) }},
		{"nodes_behind", "Nodes that have another version, or none.", func(k ScannedKey) float64 { return float64(k.Behind) }},
		{"nodes_unsound", "Nodes that say of themselves what cannot be.", func(k ScannedKey) float64 { return float64(k.Unsound) }},
		{"nodes_unknown", "Nodes that have not reported since the store was restored from a snapshot.",
			func(k ScannedKey) float64 { return float64(k.Unknown) }},
		{"nodes_silent", "Nodes that did not report for longer than they promised; they do not count.",
			func(k ScannedKey) float64 { return float64(k.Silent) }},
		{"nodes_gone", "Nodes that have been silent for so long that they are left out.",
			func(k ScannedKey) float64 { return float64(k.Gone) }},
		{"nodes_measured", "Nodes of which it is known how long the version took to them.",
			func(k ScannedKey) float64 { return float64(k.Delivered.Count) }},
		{"oldest_straggler_seconds",
			"For how long that node has been missing that is missing longest, without those that are stopped, locked or waiting; 0 if " +
				"there is none.",
			func(k ScannedKey) float64 { return k.Oldest.Seconds() }},
		{"stopped", "1 if the key is stopped in the whole ", func(k ScannedKey) float64 { return observe.Truth(k.Stopped) }},
		{"stopped_since_timestamp_seconds", "Since when, in Unix seconds; 0 if it is not stopped, or that is not known.",
			func(k ScannedKey) float64 { return observe.Seconds(k.StoppedSince) }},
	} {
		m.Family(prefix+f.name, observe.Gauge, f.help)
		for _, k := range keys {
			m.Sample(f.of(k), observe.With("key", k.Key))
		}
	}
}

// times writes how long it took. The label is not "quantile", which is for summaries:
// these are of one version, and not of a period.
func (m promWriter) times(keys []ScannedKey) {
	for _, f := range []struct {
		name string
		help string
		of   func(ScannedKey) Percentiles
	}{
		{"delivered_seconds", "From the publish of the version until it was in place, of the nodes of which that is known.",
			func(k ScannedKey) Percentiles { return k.Delivered }},
		{"on_node_seconds", "The part of it on the node, from when it had the news.",
			func(k ScannedKey) Percentiles { return k.OnNode }},
	} {
		m.Family(prefix+f.name, observe.Gauge, f.help)
		for _, k := range keys {
			p := f.of(k)
			if p.Count == 0 {
				continue
			}
			for _, row := range []struct {
				percentile string
				took       Millis
			}{{"50", p.P50}, {"90", p.P90}, {"99", p.P99}, {"100", p.Last}} {
				m.Sample(time.Duration(row.took).Seconds(), observe.With("key", k.Key), observe.With("percentile", row.percentile))
			}
		}
	}
}

// other is a state that is none of the known words.
const other = "other"

// stragglers writes why nodes are missing. A receipt may come from anybody: what is no
// word of ours does not become a label.
func (m promWriter) stragglers(keys []ScannedKey, states []string) {
	states = append(slices.Clone(states), string(Unsound), other)
	m.Family(prefix+"stragglers", observe.Gauge, "Nodes that count and have not arrived, by the state that they report.")
	for _, k := range keys {
		count := map[string]int{}
		for _, l := range k.Stragglers {
			state := l.State
			switch {
			case l.Verdict == Unsound:
				state = string(Unsound)
			case !slices.Contains(states, state):
				state = other
			}
			count[state]++
		}
		for _, state := range states {
			m.Sample(float64(count[state]), observe.With("key", k.Key), observe.With("state", state))
		}
	}
}

// nodes names those that are missing or silent.
func (m promWriter) nodes(keys []ScannedKey) {
	m.Family(prefix+"node_verdict", observe.Gauge, "1 for each node that has not arrived or is silent.")
	room, left := MaxPerNode, 0
	for _, k := range keys {
		lines := slices.Concat(k.Stragglers, k.SilentNodes)
		slices.SortFunc(lines, func(a, b Line) int { return cmp.Compare(a.Node, b.Node) })
		some := lines[:min(room, len(lines))]
		room, left = room-len(some), left+len(lines)-len(some)
		for _, l := range some {
			m.Sample(1, observe.With("key", k.Key), observe.With("node", nodeName(l.Node)), observe.With("verdict", string(l.Verdict)))
		}
	}
	m.one("node_verdicts_left_out", "Nodes that are not named because there are too many.", float64(left))
}

// nodeName is a name that is safe to print, and that no other node has. It is a path of
// the store, in which anything may stand.
func nodeName(name string) string {
	quoted := strconv.Quote(name)
	return quoted[1 : len(quoted)-1]
}

func timeOf(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return *t
}
