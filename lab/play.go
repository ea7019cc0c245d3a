package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"kvexpress/lab/hosts"
	"kvexpress/lab/proc"
)

// An overloaded node runs for a part of the time only. It is the one of this number, or
// the last one of fewer.
const (
	frozenFor  = 400 * time.Millisecond
	runningFor = 100 * time.Millisecond
	slowNode   = 7
)

// play changes the catalog, with one node overloaded during the second third of the
// changes, and judges what all nodes answered.
func (o options) play(ctx context.Context, f *hosts.Fleet) (changes []hosts.Change, err error) {
	if err := f.Start(ctx); err != nil {
		return nil, err
	}
	holder := "no server"
	if h := f.Holder(); h != nil {
		holder = h.Name
	}
	f.Say(fmt.Sprintf("all %d nodes know all %d services; %s renders", len(f.Nodes), len(f.Services), holder))
	f.Ask()
	slow, well := f.Nodes[min(slowNode, len(f.Nodes))-1], func() {}
	defer func() { well() }()
	for i := range o.changes {
		if from, to := o.changes/3, 2*o.changes/3; i == from && from < to {
			f.Say(fmt.Sprintf("%s is overloaded: it is paused for %v of %v", slow.Name, frozenFor, frozenFor+runningFor))
			well = proc.Pulse(ctx, slow.Pause, slow.Continue, frozenFor, runningFor)
		} else if i == to && from < to {
			well()
			f.Say(slow.Name + " is well again")
		}
		c, err := f.Make(ctx, f.Services[i/2%len(f.Services)], i%2 == 1)
		if err != nil {
			return nil, err
		}
		changes = append(changes, c)
		what := "is taken out of the catalog"
		if c.Up {
			what = "comes into the catalog"
		}
		f.Say(fmt.Sprintf("%s %s: rendered after %s ms, published %s, DNS of the last node %s (%s)",
			c.Service.Name, what, millis(c.Rendered), millis(c.Published), millis(c.Last().Answer), c.Last().Node.Name))
	}
	if err := judge(f); err != nil {
		return nil, err
	}
	return changes, nil
}

// judge compares all answers of DNS with the published versions.
func judge(f *hosts.Fleet) error {
	answers, faults := 0, []string{}
	for _, v := range f.Judge() {
		answers += v.Answers
		for _, fault := range v.Faults {
			faults = append(faults, v.Node+": "+fault.Why)
		}
		if v.Answers == 0 {
			faults = append(faults, v.Node+": no answer")
		}
	}
	if len(faults) > 0 {
		return fmt.Errorf("of %d answers, %d were wrong:\n%s", answers, len(faults), strings.Join(faults[:min(10, len(faults))], "\n"))
	}
	f.Say(fmt.Sprintf("of %d answers of DNS, none was wrong or went back, over %d versions", answers, len(f.Versions())))
	return nil
}

// table is how long changes took to each stage and to each node, in milliseconds: of runs, side by side.
func table(names []string, runs [][]hosts.Change) string {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "\n%d changes, ms", len(runs[0]))
	for _, name := range names {
		fmt.Fprintf(w, "\t%s p50\tp90\tmax", name)
	}
	fmt.Fprint(w, "\n")
	row := func(name string, of func(hosts.Change) time.Duration) {
		fmt.Fprint(w, name)
		for _, changes := range runs {
			times := make([]time.Duration, len(changes))
			for i, c := range changes {
				times[i] = of(c)
			}
			slices.Sort(times)
			rank := func(percent int) string { return millis(times[(len(times)*percent+99)/100-1]) }
			fmt.Fprintf(w, "\t%s\t%s\t%s", rank(50), rank(90), rank(100))
		}
		fmt.Fprint(w, "\n")
	}
	row("rendered", func(c hosts.Change) time.Duration { return c.Rendered })
	row("published", func(c hosts.Change) time.Duration { return c.Published })
	row("kvexpress' share", func(c hosts.Change) time.Duration { return c.Last().Answer - c.Rendered })
	row("last answer", func(c hosts.Change) time.Duration { return c.Last().Answer })
	for i, n := range runs[0][0].Nodes {
		row(fmt.Sprintf("%s, %s", n.Node.Name, n.Mode), func(c hosts.Change) time.Duration { return c.Nodes[i].Answer })
	}
	_ = w.Flush() // to memory
	return text.String()
}

// millis has one digit after the point: times are exact to 2 ms at best.
func millis(d time.Duration) string { return fmt.Sprintf("%.1f", float64(d)/float64(time.Millisecond)) }
