package scale

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"kvexpress/lab/hosts"
	"kvexpress/lab/proc"
)

const (
	// tolerance is by how much the two sides may differ. The kernel notes the beginning of
	// its tick: 4 ms early, and more on a busy machine.
	tolerance = 40 * time.Millisecond
	// excused is how many nodes status may leave out of its percentiles, as a share.
	excused = 0.05
)

// status is what `kvexpress status` tells of a key.
type status struct {
	Key              string
	Version          uint64
	SHA256           string
	Nodes, Converged int
	Published        time.Time   `json:"published_at"`
	Seen             *time.Time  `json:"seen_at"` // by a hub; nil without one
	Delivered        percentiles // until the file is in place and durable
	OnNode           percentiles `json:"on_node"` // the node's own part of it
}

type percentiles struct {
	Count   int
	P50     float64 `json:"p50_ms"`
	P90     float64 `json:"p90_ms"`
	P99     float64 `json:"p99_ms"`
	Slowest float64 `json:"slowest_ms"`
}

func (s *site) status(ctx context.Context, key string) (status, error) {
	text, err := s.Kvexpress(ctx, hosts.Publisher, "status", "--json")
	if err != nil {
		return status{}, err
	}
	var all struct{ Keys []status }
	err = json.Unmarshal([]byte(text), &all)
	for _, told := range all.Keys {
		if told.Key == key {
			return told, err
		}
	}
	return status{}, err
}

// version is a version: what status tells of it, and when nodes were seen to have the
// file and to have run the exec, from the publish, sorted.
type version struct {
	key        string
	told       status
	seen, done []time.Duration
	waited     time.Duration // of in --wait
}

// deliver publishes content from where the arguments say, waits until all have it, and
// compares status with the files.
func (s *site) deliver(ctx context.Context, key, content string, from ...string) (*version, error) {
	began := time.Now()
	said, err := s.in(ctx, key, content, append([]string{"--wait", "100%", "--timeout", "2m"}, from...)...)
	if err != nil {
		return nil, errors.Join(err, errors.New(said))
	}
	took := time.Since(began)
	proc.Sleep(ctx, s.settle)
	v := &version{key: key, waited: took}
	if v.told, err = s.status(ctx, key); err != nil {
		return nil, err
	}
	if v.told.Nodes != len(s.nodes) || v.told.Converged != len(s.nodes) {
		return nil, fmt.Errorf("%s: status counts %d of %d nodes, and there are %d", key, v.told.Converged, v.told.Nodes, len(s.nodes))
	}
	for _, n := range s.nodes {
		if err := n.check(content, v, s.published[key]); err != nil {
			return nil, fmt.Errorf("%s: %w", n.name, err)
		}
	}
	d := v.told.Delivered
	slices.Sort(v.seen)
	slices.Sort(v.done)
	s.Say(fmt.Sprintf("%s, version %d: %d files are right, each exec ran once; in --wait took %v",
		key, v.told.Version, len(s.nodes), took.Round(time.Millisecond)))
	s.Say("  in place, status        " + text(d.P50, d.P90, d.P99, d.Slowest))
	s.Say("  in place, from outside  " + text(rank(v.seen, 50), rank(v.seen, 90), rank(v.seen, 99), rank(v.seen, 100)))
	s.Say("  exec done, from outside " + text(rank(v.done, 50), rank(v.done, 90), rank(v.done, 99), rank(v.done, 100)))
	return v, v.compare(s.tolerance)
}

// check returns an error unless the file has exactly the content, and the exec ran once for each
// of so many versions, and notes when the kernel saw both.
func (n *node) check(content string, v *version, versions int) error {
	got, err := os.ReadFile(n.file(v.key))
	if err == nil && string(got) != content {
		err = fmt.Errorf("%s has %d bytes, and not those that were published", n.file(v.key), len(got))
	}
	ran, err2 := os.ReadFile(n.trace(v.key))
	seen, err3 := proc.Changed(n.file(v.key))
	done, err4 := proc.Changed(n.trace(v.key))
	if err := errors.Join(err, err2, err3, err4); err != nil {
		return err
	}
	all, last := string(ran), fmt.Sprintf("%d %s\n", v.told.Version, v.told.SHA256)
	if strings.Count(all, "\n") != versions || strings.Count(all, v.told.SHA256) != 1 || !strings.HasSuffix(all, last) {
		return fmt.Errorf("the exec ran otherwise than once for each of %d versions:\n%s", versions, all)
	}
	from := v.told.Published
	if v.told.Seen != nil {
		from = *v.told.Seen
	}
	v.seen, v.done = append(v.seen, seen.Sub(from)), append(v.done, done.Sub(from))
	return nil
}

func text(p50, p90, p99, last float64) string {
	return fmt.Sprintf("p50 %5.0f ms, p90 %5.0f, p99 %5.0f, last %5.0f", p50, p90, p99, last)
}

// rank is a percentile of sorted times, by the nearest rank, in milliseconds.
func rank(times []time.Duration, percent int) float64 {
	return float64(times[(len(times)*percent+99)/100-1]) / float64(time.Millisecond)
}

// compare is an error if status tells of other times than were seen: a file is in place
// before status says so, but not before the node can have had the news.
func (v *version) compare(tolerance time.Duration) error {
	d, n, t := v.told.Delivered, v.told.OnNode, float64(tolerance)/float64(time.Millisecond)
	if all := len(v.seen); d.Count > all || float64(d.Count) < (1-excused)*float64(all) {
		return fmt.Errorf("%s, version %d: status counts %d nodes, and %d were seen", v.key, v.told.Version, d.Count, all)
	} else if d.Count < all {
		return nil // percentiles of fewer nodes are others
	}
	for percent, told := range map[int]float64{50: d.P50, 90: d.P90, 99: d.P99, 100: d.Slowest} {
		if seen := rank(v.seen, percent); seen < told-n.Slowest-t || seen > told+t {
			return fmt.Errorf("%s, version %d: status says that %d %% have it after %v ms (on the node %v), and seen was %v ms",
				v.key, v.told.Version, percent, told, n.Slowest, seen)
		}
	}
	return nil
}
