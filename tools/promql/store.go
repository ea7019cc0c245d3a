package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"
)

// store holds the scraped samples, as Prometheus would, by their labels.
type store map[string]*promql.Series

// newStore takes in scrapes. As in Prometheus, a series that is missing in a target's next scrape is marked stale.
func newStore(scrapes []Scrape) (store, error) {
	db := store{}
	before := map[string]map[string]bool{} // by target: what its last scrape had
	for _, s := range scrapes {
		target := labels.FromMap(s.Target)
		now := map[string]bool{}
		if err := db.scrape(s, target, now); err != nil {
			return nil, fmt.Errorf("the scrape of %s at %s: %w", target, s.At, err)
		}
		for name := range before[target.String()] {
			if !now[name] {
				db[name].Floats = append(db[name].Floats, promql.FPoint{T: s.At.UnixMilli(), F: math.Float64frombits(value.StaleNaN)})
			}
		}
		before[target.String()] = now
	}
	return db, nil
}

func (db store) scrape(s Scrape, target labels.Labels, now map[string]bool) error {
	add := func(l labels.Labels, v float64) {
		name := l.String()
		if db[name] == nil {
			db[name] = &promql.Series{Metric: l}
		}
		db[name].Floats = append(db[name].Floats, promql.FPoint{T: s.At.UnixMilli(), F: v})
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

// queryable answers the engine.
func (db store) queryable() storage.Queryable {
	find := func(_ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
		found := &set{SeriesSet: storage.EmptySeriesSet(), at: -1}
		for _, s := range db {
			if !slices.ContainsFunc(matchers, func(m *labels.Matcher) bool { return !m.Matches(s.Metric.Get(m.Name)) }) {
				found.series = append(found.series, *s)
			}
		}
		slices.SortFunc(found.series, func(a, b promql.Series) int { return labels.Compare(a.Metric, b.Metric) })
		return found
	}
	return &storage.MockQueryable{MockQuerier: &storage.MockQuerier{SelectMockFunction: find}}
}

// set implements storage.SeriesSet.
type set struct {
	storage.SeriesSet // for its lack of errors
	series            []promql.Series
	at                int
}

func (s *set) Next() bool         { s.at++; return s.at < len(s.series) }
func (s *set) At() storage.Series { return promql.NewStorageSeries(s.series[s.at]) }
