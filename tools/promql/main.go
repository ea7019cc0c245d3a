// Command promql evaluates expressions with Prometheus' own engine, for the tests of monitoring/: which metrics they name,
// and when they hold. It is a module of its own, so that the engine is no dependency of kvexpress.
//
// It reads a Request as JSON, and writes an Answer for each expression.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
)

// Request has the scrapes and the expressions to evaluate on them.
type Request struct {
	Exprs   []string
	Scrapes []Scrape      // ascending in time
	Step    time.Duration // between two evaluations, from the first scrape to the last
}

// Scrape is one answer of one target; with an empty Text it did not answer.
type Scrape struct {
	At     time.Time
	Target map[string]string // labels, such as job and instance
	Text   string
}

// Answer is the result of one expression.
type Answer struct {
	Error     string
	Selectors []Selector
	Labels    []string // that it groups or matches by
	Series    []Series
}

// Selector is a metric that an expression names.
type Selector struct {
	Name   string
	Equal  map[string]string // labels that must have a value
	Labels []string          // all that it names
}

// Series is one result of an expression, with the times at which it had a value.
type Series struct {
	Labels map[string]string
	At     []time.Time
	Values []float64
}

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(in io.Reader, out io.Writer) error {
	var req Request
	if err := json.NewDecoder(in).Decode(&req); err != nil {
		return err
	}
	db, err := newStore(req.Scrapes)
	if err != nil {
		return err
	}
	p := parser.NewParser(parser.Options{})
	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 50_000_000, Timeout: time.Minute, Parser: p})
	answers := make([]Answer, 0, len(req.Exprs))
	for _, text := range req.Exprs {
		answer := Answer{}
		expr, err := p.ParseExpr(text)
		if err == nil {
			answer.describe(expr)
			err = answer.evaluate(engine, db, req, text)
		}
		if err != nil {
			answer.Error = err.Error()
		}
		answers = append(answers, answer)
	}
	return json.NewEncoder(out).Encode(answers)
}

// describe finds the metrics and labels that an expression names.
func (a *Answer) describe(expr parser.Expr) {
	parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
		switch n := node.(type) {
		case *parser.VectorSelector:
			s := Selector{Name: n.Name, Equal: map[string]string{}}
			for _, m := range n.LabelMatchers {
				if m.Name == labels.MetricName {
					continue
				}
				s.Labels = append(s.Labels, m.Name)
				if m.Type == labels.MatchEqual {
					s.Equal[m.Name] = m.Value
				}
			}
			a.Selectors = append(a.Selectors, s)
		case *parser.AggregateExpr:
			a.Labels = append(a.Labels, n.Grouping...)
		case *parser.BinaryExpr:
			if n.VectorMatching != nil {
				a.Labels = append(append(a.Labels, n.VectorMatching.MatchingLabels...), n.VectorMatching.Include...)
			}
		}
		return nil
	})
	slices.Sort(a.Labels)
	a.Labels = slices.Compact(a.Labels)
}

func (a *Answer) evaluate(engine *promql.Engine, db store, req Request, text string) error {
	if len(req.Scrapes) == 0 {
		return nil
	}
	first, last := req.Scrapes[0].At, req.Scrapes[len(req.Scrapes)-1].At
	query, err := engine.NewRangeQuery(context.Background(), db.queryable(), nil, text, first, last, req.Step)
	if err != nil {
		return err
	}
	defer query.Close()
	matrix, err := query.Exec(context.Background()).Matrix()
	if err != nil {
		return err
	}
	for _, series := range matrix {
		s := Series{Labels: series.Metric.Map()}
		for _, p := range series.Floats {
			s.At, s.Values = append(s.At, time.UnixMilli(p.T).UTC()), append(s.Values, p.F)
		}
		a.Series = append(a.Series, s)
	}
	return nil
}
