package fleet

import (
	"cmp"
	"io"
	"runtime"
	"slices"
	"strconv"
	"time"

	"kvexpress/internal/observe"
	"kvexpress/internal/outcome"
)

const (
	// MaxAge is for how long the values of the last scan are served after scans began to fail.
	// Old values that look healthy are worse than none.
	MaxAge = 5 * time.Minute
	// MaxPerNode is how many nodes are named, with Metrics.PerNode.
	MaxPerNode = 1000
	// ScanLimit is how much longer than its wait a scan may take in all. The store limits each
	// request by itself.
	ScanLimit = time.Minute
)

// Metrics is a scan and the state of its daemon, as Prometheus gets them.
type Metrics struct {
	Version string
	Started time.Time
	Every   time.Duration
	PerNode bool
	Last    *Scan // that succeeded; nil: none did yet
	Failed  error // why the last scan failed; nil: it succeeded
}

// up reports whether the last scan succeeded, and is recent.
func (v Metrics) up(now time.Time) bool {
	return v.Last != nil && v.Failed == nil && now.Sub(v.Last.Taken) <= v.Every+ScanLimit
}

// Write writes Prometheus' text format. now is the time of the scrape.
//
// An unknown time is 0. The fleet's series are left out when the last scan is older than MaxAge,
// and the delivery times of a key when no node has one.
func (v Metrics) Write(w io.Writer, now time.Time) error {
	m := promWriter{observe.NewProm(w)}
	m.Family("kvexpress_build_info", observe.Gauge, "Version of the running program; always 1.")
	m.Sample(1, observe.With("version", v.Version), observe.With("goversion", runtime.Version()))
	m.one("up", "1 if the last scan of the fleet succeeded.", observe.Truth(v.up(now)))
	seen, age := time.Time{}, now.Sub(v.Started)
	if v.Last != nil {
		seen, age = v.Last.Taken, now.Sub(v.Last.Taken)
	}
	m.one("last_scan_timestamp_seconds", "Time of the last successful scan, in Unix seconds; 0 before the first.",
		observe.Seconds(seen))
	m.one("last_scan_age_seconds", "Age of the last successful scan at the time of the scrape; since the start before the first.",
		max(0, age.Seconds()))
	if v.Last != nil && age <= MaxAge {
		m.fleet(*v.Last)
		m.keys(v.Last.Keys)
		m.outcomes(v.Last.Keys)
		m.times("delivered_seconds", "Time from the publish of the version until the file was in place.", v.Last.Keys,
			func(k ScannedKey) Percentiles { return k.Delivered })
		m.times("on_node_seconds", "Part of the delivery time on the node, from when it had the news.", v.Last.Keys,
			func(k ScannedKey) Percentiles { return k.OnNode })
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

func (m promWriter) fleet(s Scan) {
	m.one("receipts", "Nodes that have a receipt.", float64(s.Receipts))
	m.one("receipts_unreadable", "Receipts that cannot be read.", float64(s.Unread))
	m.one("locks", "Locked files, on all nodes.", float64(s.Locks))
	m.one("clocks_off", "Clocks that are more than 2 s off the store's.", float64(s.ClocksOff))
	m.one("keys", "Keys in these metrics: published, stopped, or reported by a node.", float64(len(s.Keys)))
	m.one("keys_unreadable", "Keys that cannot be read. They are not in these metrics.", float64(s.KeysUnread))
	m.one("keys_left_out", "Keys beyond the limit of 1000. They are not in these metrics.", float64(s.KeysLeftOut))
}

// keys writes one value for each key.
func (m promWriter) keys(keys []ScannedKey) {
	family := func(name, help string, value func(ScannedKey) float64) {
		m.Family(prefix+name, observe.Gauge, help)
		for _, k := range keys {
			m.Sample(value(k), observe.With("key", k.Key))
		}
	}
	family("published", "1 if the key is published, 0 if it is only stopped or reported.",
		func(k ScannedKey) float64 { return observe.Truth(k.Exists) })
	family("version", "Live version, within its lineage; 0 if it has no number.",
		func(k ScannedKey) float64 { return float64(k.Version) })
	family("published_timestamp_seconds", "Publish time of the live version, in Unix seconds by the store's clock; 0 if unknown.",
		func(k ScannedKey) float64 {
			if k.Published == nil {
				return 0
			}
			return observe.Seconds(*k.Published)
		})
	family("oldest_straggler_seconds",
		"Longest time that a node has not been converged; stopped, locked and waiting nodes do not count.",
		func(k ScannedKey) float64 { return k.Oldest.Seconds() })
	family("stopped", "1 if the key is stopped in the whole fleet.", func(k ScannedKey) float64 { return observe.Truth(k.Stopped) })
	family("stopped_since_timestamp_seconds", "Time of the stop, in Unix seconds; 0 if it is not stopped, or the time is unknown.",
		func(k ScannedKey) float64 { return observe.Seconds(k.StoppedSince) })
}

// outcomes counts nodes. An outcome that no node has is there with 0: a series that comes and goes
// breaks alerts.
func (m promWriter) outcomes(keys []ScannedKey) {
	m.Family(prefix+"nodes", observe.Gauge, "Nodes that report the key, by outcome.")
	for _, k := range keys {
		for _, row := range outcome.All() {
			m.Sample(float64(k.Outcomes[row.Outcome]), observe.With("key", k.Key), observe.With("outcome", string(row.Outcome)))
		}
	}
}

// times writes percentiles. The label is not "quantile", which is for summaries: these are of one
// version, and not of a period.
func (m promWriter) times(name, help string, keys []ScannedKey, of func(ScannedKey) Percentiles) {
	m.Family(prefix+name, observe.Gauge, help)
	for _, k := range keys {
		p := of(k)
		if p.Count == 0 {
			continue
		}
		for _, row := range []struct {
			percentile string
			took       Millis
		}{{"50", p.P50}, {"90", p.P90}, {"99", p.P99}, {"100", p.Slowest}} {
			m.Sample(time.Duration(row.took).Seconds(), observe.With("key", k.Key), observe.With("percentile", row.percentile))
		}
	}
}

// nodes names nodes that have not converged or have no contact.
func (m promWriter) nodes(keys []ScannedKey) {
	m.Family(prefix+"node_outcome", observe.Gauge, "1 for each node that has not converged or has no contact.")
	room, left := MaxPerNode, 0
	for _, k := range keys {
		lines := slices.Concat(k.Stragglers, k.NoContact)
		slices.SortFunc(lines, func(a, b Line) int { return cmp.Compare(a.Node, b.Node) })
		some := lines[:min(room, len(lines))]
		room, left = room-len(some), left+len(lines)-len(some)
		for _, l := range some {
			m.Sample(1, observe.With("key", k.Key), observe.With("node", nodeName(l.Node)), observe.With("outcome", string(l.Outcome)))
		}
	}
	m.one("node_outcomes_left_out", "Nodes beyond the limit of 1000 names.", float64(left))
}

// nodeName is printable, and different for each node: a node name is a path of the store and can
// hold any bytes.
func nodeName(name string) string {
	quoted := strconv.Quote(name)
	return quoted[1 : len(quoted)-1]
}
