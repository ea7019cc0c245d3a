package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/util/annotations"
)

// store holds the scraped samples, as Prometheus would.
type store struct {
	series map[string]*series // by labels
}

type series struct {
	labels  labels.Labels
	samples []chunks.Sample
}

// newStore takes in scrapes. As in Prometheus, a series that is missing in a target's next scrape is marked stale.
func newStore(scrapes []Scrape) (*store, error) {
	db := &store{series: map[string]*series{}}
	before := map[string]map[string]bool{} // by target: what its last scrape had
	for _, s := range scrapes {
		target := labels.FromMap(s.Target)
		now := map[string]bool{}
		if err := db.scrape(s, target, now); err != nil {
			return nil, fmt.Errorf("the scrape of %s at %s: %w", target, s.At, err)
		}
		for name := range before[target.String()] {
			if !now[name] {
				db.series[name].add(s.At.UnixMilli(), math.Float64frombits(value.StaleNaN))
			}
		}
		before[target.String()] = now
	}
	return db, nil
}

func (db *store) scrape(s Scrape, target labels.Labels, now map[string]bool) error {
	add := func(l labels.Labels, v float64) {
		name := l.String()
		if db.series[name] == nil {
			db.series[name] = &series{labels: l}
		}
		db.series[name].add(s.At.UnixMilli(), v)
		now[name] = true
	}
	up := labels.NewBuilder(target)
	up.Set(labels.MetricName, "up")
	if s.Text == "" {
		add(up.Labels(), 0)
		return nil
	}
	add(up.Labels(), 1)
	p := textparse.NewPromParser([]byte(s.Text), labels.NewSymbolTable(), false)
	for {
		entry, err := p.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case entry != textparse.EntrySeries:
			continue
		}
		var l labels.Labels
		p.Labels(&l)
		b := labels.NewBuilder(l)
		target.Range(func(t labels.Label) { b.Set(t.Name, t.Value) })
		_, _, v := p.Series()
		if l = b.Labels(); now[l.String()] {
			return fmt.Errorf("%s is there twice", l)
		}
		add(l, v)
	}
}

func (s *series) add(at int64, v float64) { s.samples = append(s.samples, sample{at, v}) }

// sample is a chunks.Sample of a plain number.
type sample struct {
	t int64
	v float64
}

func (s sample) T() int64                      { return s.t }
func (s sample) ST() int64                     { return 0 }
func (s sample) F() float64                    { return s.v }
func (s sample) H() *histogram.Histogram       { return nil }
func (s sample) FH() *histogram.FloatHistogram { return nil }
func (s sample) Type() chunkenc.ValueType      { return chunkenc.ValFloat }
func (s sample) Copy() chunks.Sample           { return s }

// Querier implements storage.Queryable.
func (db *store) Querier(_, _ int64) (storage.Querier, error) { return querier{db}, nil }

type querier struct{ *store }

// Select implements storage.Querier.
func (q querier) Select(_ context.Context, _ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	var found []storage.Series
	for _, s := range q.series {
		if !slices.ContainsFunc(matchers, func(m *labels.Matcher) bool { return !m.Matches(s.labels.Get(m.Name)) }) {
			found = append(found, storage.NewListSeries(s.labels, s.samples))
		}
	}
	slices.SortFunc(found, func(a, b storage.Series) int { return labels.Compare(a.Labels(), b.Labels()) })
	return &set{found: found, at: -1}
}

// LabelValues implements storage.Querier; it is not called.
func (querier) LabelValues(context.Context, string, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations,
	error) {
	return nil, nil, nil
}

// LabelNames implements storage.Querier; it is not called.
func (querier) LabelNames(context.Context, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, nil
}

// Close implements storage.Querier.
func (querier) Close() error { return nil }

// set implements storage.SeriesSet.
type set struct {
	found []storage.Series
	at    int
}

func (s *set) Next() bool                        { s.at++; return s.at < len(s.found) }
func (s *set) At() storage.Series                { return s.found[s.at] }
func (s *set) Err() error                        { return nil }
func (s *set) Warnings() annotations.Annotations { return nil }
