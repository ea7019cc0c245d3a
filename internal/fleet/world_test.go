package fleet_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"kvexpress/internal/embedded"
	"kvexpress/internal/fleet"
	"kvexpress/internal/hold"
	"kvexpress/internal/kv"
	"kvexpress/internal/outcome"
)

// world is a store with a fleet around it, which is scanned.
type world struct {
	t        *testing.T
	store    *shaky
	layout   kv.Layout
	freezer  hold.Freezer
	manifest map[kv.Key]kv.Manifest
	scanner  *fleet.Scanner
	metrics  fleet.Metrics
}

func newWorld(t *testing.T) *world {
	t.Helper()
	l, err := kv.NewLayout("kvexpress")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, store: &shaky{Store: embedded.New()}, layout: l, manifest: map[kv.Key]kv.Manifest{}}
	w.freezer = hold.Freezer{Recorder: hold.Recorder{Store: w.store, Layout: l}, Host: "web-0"}
	w.scanner = fleet.NewScanner(w.store, l, nil, 24*time.Hour)
	w.metrics = fleet.Metrics{Version: "2.0.0", Started: time.Now(), Every: 15 * time.Second}
	return w
}

// shaky is a store that can be unreachable.
type shaky struct {
	kv.Store
	down atomic.Bool
}

func (s *shaky) List(ctx context.Context, c kv.Consistency, prefix string, since uint64, wait time.Duration) (kv.Listing, error) {
	if s.down.Load() {
		return kv.Listing{}, &kv.StoreError{Op: "list " + prefix, Kind: kv.ErrUnreachable}
	}
	return s.Store.List(ctx, c, prefix, since, wait)
}

func (w *world) put(path, value string, flags uint64) {
	w.t.Helper()
	if _, err := w.store.Commit(w.t.Context(), []kv.Op{{Verb: kv.Set, Path: path, Value: []byte(value), Flags: flags}}); err != nil {
		w.t.Fatal(err)
	}
}

// publish publishes the next version of a key, and returns a target that has it.
func (w *world) publish(key kv.Key) fleet.Target {
	w.t.Helper()
	m := w.manifest[key]
	m.Format, m.Lineage, m.Key, m.PublishID, m.By = kv.ManifestFormat, "4f2c", key, kv.NewID(), "root@ci"
	m.Version++
	sum := sha256.Sum256([]byte(string(key) + m.PublishID))
	m.SHA256, m.PublishedAt, m.ClockOffset = hex.EncodeToString(sum[:]), time.Now(), new(int64)
	w.manifest[key] = m
	b, err := m.Marshal()
	if err != nil {
		w.t.Fatal(err)
	}
	w.put(w.layout.Checksum(key), m.SHA256, 0)
	w.put(w.layout.Manifest(key), string(b), 0)
	return w.has(key)
}

// has is a target that has the live version, since 200 ms after its publish.
func (w *world) has(key kv.Key) fleet.Target {
	m := w.manifest[key]
	return fleet.Target{
		By: fleet.ByAgent, Key: string(key), File: "/etc/" + string(key), Lineage: m.Lineage, Version: m.Version, SHA256: m.SHA256,
		Outcome: outcome.Converged,
		Since:   fleet.Millis(time.Since(m.PublishedAt)),
		Placed: &fleet.Placed{
			Age:   fleet.Millis(max(0, time.Since(m.PublishedAt.Add(200*time.Millisecond)))),
			Steps: fleet.Steps{Install: fleet.Millis(50 * time.Millisecond)},
		},
	}
}

// in is a target with an outcome, for so long.
func in(t fleet.Target, o outcome.Outcome, since time.Duration) fleet.Target {
	t.Outcome, t.Since, t.ExecPending = o, fleet.Millis(since), o == outcome.Pending
	return t
}

// report writes a receipt as a node's agent does.
func (w *world) report(node string, targets ...fleet.Target) {
	w.t.Helper()
	w.reportAt(node, time.Now(), targets...)
}

// reportAt is report by a clock of a node.
func (w *world) reportAt(node string, sent time.Time, targets ...fleet.Target) {
	w.t.Helper()
	off := time.Until(sent).Milliseconds()
	r := fleet.Receipt{
		Node: node, Sent: sent, ClockOffset: &off, Targets: targets,
		Agent: &fleet.Agent{Version: "2.0.0", Every: fleet.Millis(time.Minute)},
	}
	value, flags, err := r.Marshal()
	if err != nil {
		w.t.Fatal(err)
	}
	w.put(w.layout.Node(node), string(value), flags)
}

// mustScan scans the fleet, which must succeed.
func (w *world) mustScan() {
	w.t.Helper()
	w.scan()
	if w.metrics.Failed != nil {
		w.t.Fatal(w.metrics.Failed)
	}
}

// scan scans the fleet as the daemon does: the last scan that succeeded stays.
func (w *world) scan() {
	scan, err := w.scanner.Scan(w.t.Context(), 0)
	if w.metrics.Failed = err; err == nil {
		w.metrics.Last = scan
	}
}

func (w *world) text() string {
	w.t.Helper()
	var out bytes.Buffer
	if err := w.metrics.Write(&out, time.Now()); err != nil {
		w.t.Fatal(err)
	}
	return out.String()
}

type families map[string]*dto.MetricFamily

func (w *world) scrape() families {
	w.t.Helper()
	return parseMetrics(w.t, w.text())
}

func parseMetrics(t *testing.T, text string) families {
	t.Helper()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	all, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatalf("Prometheus cannot read it: %v\n%s", err, text)
	}
	return all
}

// find returns the value of the one sample with these labels, written "name=value".
func (f families) find(name string, labels ...string) (float64, bool) {
	for _, m := range f["kvexpress_fleet_"+name].GetMetric() {
		var has []string
		for _, l := range m.GetLabel() {
			has = append(has, l.GetName()+"="+l.GetValue())
		}
		if !slices.ContainsFunc(labels, func(l string) bool { return !slices.Contains(has, l) }) {
			return m.GetGauge().GetValue() + m.GetCounter().GetValue(), true // one of them is 0
		}
	}
	return 0, false
}

// wants compares a metric with a value.
func (w *world) wants(f families, want float64, name string, labels ...string) {
	w.t.Helper()
	switch got, ok := f.find(name, labels...); {
	case !ok:
		w.t.Errorf("there is no %s%v", name, labels)
	case got < want-0.001 || got > want+0.001:
		w.t.Errorf("%s%v is %v, want %v", name, labels, got, want)
	}
}

// lacks wants a metric not to be there.
func (w *world) lacks(f families, name string, labels ...string) {
	w.t.Helper()
	if got, ok := f.find(name, labels...); ok {
		w.t.Errorf("%s%v is %v, and should not be there", name, labels, got)
	}
}

// pass lets time pass, in a bubble.
func pass(d time.Duration) { <-time.After(d) }
