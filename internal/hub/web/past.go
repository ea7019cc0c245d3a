package web

import (
	"slices"
	"sync"
	"time"

	"kvexpress/internal/fleet"
	"kvexpress/internal/kv"
)

const (
	maxPublishes = 5 // of a key, whose deliveries are kept
	maxPast      = 16
	pastFor      = time.Hour              // after a key was looked at last
	leastShown   = 100 * time.Microsecond // a logarithmic scale has no 0
)

// past keeps the deliveries of the last publishes of keys that people look at: a receipt has only the last one.
type past struct {
	mu   sync.Mutex
	byID map[kv.Key]*publishes
}

type publishes struct {
	used time.Time
	all  []delivery // the newest last
}

// delivery is one version of a key.
type delivery struct {
	Version uint64
	lineage string
	took    map[string]time.Duration // by node
}

// use keeps the deliveries of a key from now on.
func (p *past) use(k kv.Key) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.byID == nil {
		p.byID = map[kv.Key]*publishes{}
	}
	if p.byID[k] == nil && len(p.byID) == maxPast {
		oldest := k
		for other, b := range p.byID {
			if oldest == k || b.used.Before(p.byID[oldest].used) {
				oldest = other
			}
		}
		delete(p.byID, oldest)
	}
	if p.byID[k] == nil {
		p.byID[k] = &publishes{}
	}
	p.byID[k].used = time.Now()
}

// keys are those in use.
func (p *past) keys() (keys []kv.Key) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for k, b := range p.byID {
		if time.Since(b.used) > pastFor {
			delete(p.byID, k)
			continue
		}
		keys = append(keys, k)
	}
	return keys
}

// note takes the deliveries of the live version.
func (p *past) note(k kv.Key, r *fleet.Report) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b := p.byID[k]
	if b == nil || r.Version == 0 {
		return
	}
	i := slices.IndexFunc(b.all, func(one delivery) bool { return one.Version == r.Version && one.lineage == r.Lineage })
	if i < 0 {
		b.all = append(b.all, delivery{Version: r.Version, lineage: r.Lineage, took: map[string]time.Duration{}})
		b.all = b.all[max(0, len(b.all)-maxPublishes):]
		i = len(b.all) - 1
	}
	for _, l := range r.Lines {
		if took, ok := l.Delivered(); ok {
			b.all[i].took[l.Node] = took
		}
	}
}

// plot is what a browser draws.
type plot struct {
	Nodes     []string     `json:"nodes"`
	Publishes []plotSeries `json:"publishes"` // the newest last
	Curve     plotCurve    `json:"curve"`     // of the newest
}

// plotSeries has a delivery time for each node, in milliseconds; null: not known.
type plotSeries struct {
	Version uint64     `json:"version"`
	Millis  []*float64 `json:"ms"`
}

// plotCurve is how many nodes had the version after a time.
type plotCurve struct {
	Millis []float64 `json:"ms"`
	Nodes  []int     `json:"nodes"`
	Of     int       `json:"of"`
}

// plot is the picture of a key.
func (p *past) plot(k kv.Key, r *fleet.Report) plot {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := plot{Nodes: []string{}, Publishes: []plotSeries{}, Curve: plotCurve{Millis: []float64{}, Nodes: []int{}, Of: r.Nodes}}
	for _, l := range r.Lines {
		out.Nodes = append(out.Nodes, l.Node)
	}
	if p.byID[k] == nil {
		return out
	}
	for _, one := range p.byID[k].all {
		series := plotSeries{Version: one.Version, Millis: make([]*float64, len(out.Nodes))}
		for i, node := range out.Nodes {
			if took, ok := one.took[node]; ok {
				ms := float64(max(leastShown, took).Round(leastShown)) / float64(time.Millisecond)
				series.Millis[i] = &ms
			}
		}
		out.Publishes = append(out.Publishes, series)
	}
	if n := len(out.Publishes); n > 0 && out.Publishes[n-1].Version == r.Version {
		for _, ms := range out.Publishes[n-1].Millis {
			if ms != nil {
				out.Curve.Millis = append(out.Curve.Millis, *ms)
			}
		}
		slices.Sort(out.Curve.Millis)
		for i := range out.Curve.Millis {
			out.Curve.Nodes = append(out.Curve.Nodes, i+1)
		}
	}
	return out
}
