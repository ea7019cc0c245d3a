//go:build linux

package play

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"kvexpress/internal/lab"
	"kvexpress/internal/lab/chart"
	"kvexpress/internal/lab/order"
)

// What a node that is overloaded has: it runs for a part of the time only.
const (
	frozenFor  = 400 * time.Millisecond
	runningFor = 100 * time.Millisecond
)

// slowest is the number of the node that has it, if nobody says otherwise and there are as
// many.
const slowest = 7

type fleetFlags struct {
	servers, nodes, services, changes int
	slow                              string
	svg                               string
	json, keep                        bool
}

func newFleet(stdout io.Writer) *cobra.Command {
	var f fleetFlags
	cmd := &cobra.Command{
		Use:   "lab",
		Short: "The hosts-file fleet on this machine, of real parts",
		Long: `The hosts-file fleet on this machine: three Consul servers, ten nodes with a Consul
agent and a dnsmasq each, 60 services, and consul-template under "consul lock" on each
server, which renders the hosts file and hands it to "kvexpress in". Half of the nodes
have a Consul watch that runs "kvexpress out", the others a "kvexpress agent". ACLs are
on, and each role has a token of its own.

Services leave the catalog and come again, and for each of these changes it is measured
when the catalog, the rendered file, the store, the file of each node and the DNS of
each node had it. One node is overloaded for a part of the time, and only that one is
late. In the end each answer that DNS ever gave is held against what was published.

All of it is on addresses in 127.0.0.0/8 and in a temporary folder, and nothing is left.
It needs "make tools", dnsmasq, and root or unprivileged user namespaces, since each
machine has a host name of its own.`,
		Example: `  go run ./cmd/lab
  go run ./cmd/lab --changes 50 --svg hosts.svg
  go run ./cmd/lab --keep`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !cmd.Flags().Changed("slow") && f.nodes < slowest {
				f.slow = ""
			}
			return f.run(cmd.Context(), stdout)
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&f.servers, "servers", 3, "how many Consul `servers`")
	flags.IntVar(&f.nodes, "nodes", 10, "how many `nodes`")
	flags.IntVar(&f.services, "services", 60, "how many `services` there are in the catalog")
	flags.IntVar(&f.changes, "changes", 18, "how many `changes` of the catalog are made")
	flags.StringVar(&f.slow, "slow", fmt.Sprintf("node-%02d", slowest), "the `node` that is overloaded during the second third of the changes; \"\" for none, as with fewer nodes than by default, or one change")
	flags.StringVar(&f.svg, "svg", "", "draw it into this `file`: a dot for each node and change")
	flags.BoolVar(&f.json, "json", false, "print what was measured as JSON, and nothing else")
	flags.BoolVar(&f.keep, "keep", false, "go on until Ctrl-C, and say what to try next")
	cmd.MarkFlagsMutuallyExclusive("json", "keep")
	return cmd
}

// result is what a run comes to, for programs.
type result struct {
	Changes  []lab.Change    `json:"changes"`
	Slow     string          `json:"slow,omitempty"`
	Answers  int             `json:"answers"`
	Versions int             `json:"versions"`
	Verdicts []order.Verdict `json:"-"`

	marks   []chart.Mark
	slowing map[int]bool // changes during which the slow node was overloaded
}

func (f fleetFlags) run(ctx context.Context, stdout io.Writer) error {
	if f.changes < 1 || f.nodes < 1 {
		return errors.New("--changes and --nodes must be 1 or more")
	}
	if f.svg != "" {
		if _, err := os.Stat(filepath.Dir(f.svg)); err != nil { // and not when all is over
			return fmt.Errorf("--svg %s: %w", f.svg, err)
		}
	}
	o := lab.Options{Servers: f.servers, Nodes: f.nodes, Services: f.services}
	return withLab(ctx, stdout, f.json, o, func(ctx context.Context, p *page, l *lab.Lab, _ lab.Tools) error {
		s, err := l.Watch(ctx)
		if err != nil {
			return err
		}
		defer s.Close()
		r, err := f.play(ctx, p, s)
		if err != nil {
			return err
		}
		if f.json {
			return writeJSON(stdout, r)
		}
		if f.keep {
			s.Close() // what is asked for hours fills the memory
			p.print(invitation(l))
			<-ctx.Done()
		}
		return context.Cause(ctx)
	})
}

// play is what happens, in its order.
func (f fleetFlags) play(ctx context.Context, p *page, s *lab.Scene) (*result, error) {
	slow, err := f.slowNode(s.Lab)
	if err != nil {
		return nil, err
	}
	if err := s.Start(ctx); err != nil {
		return nil, err
	}
	if err := s.Settled(ctx); err != nil {
		return nil, err
	}
	holder := "nobody"
	if h := s.Holder(); h != nil {
		holder = h.Name
	}
	p.say("all %d nodes know all %d services; %s renders", len(s.Nodes), len(s.Services), holder)
	s.Ask(ctx)
	r := &result{slowing: map[int]bool{}}
	ended := func() {}
	from, to := f.changes/3, 2*f.changes/3
	if from == to {
		slow = nil // no change would be made meanwhile
	}
	for i := range f.changes {
		if slow != nil && i == from {
			p.say("%s is overloaded from here on: it stands still for %v of %v", slow.Name, frozenFor, frozenFor+runningFor)
			r.marks = append(r.marks, chart.Mark{At: time.Now(), Text: slow.Name + " is overloaded"})
			ended = pulse(ctx, slow)
			r.Slow = slow.Name
		}
		if slow != nil && i == to {
			ended()
			ended = func() {}
			p.say("%s is well again", slow.Name)
			r.marks = append(r.marks, chart.Mark{At: time.Now(), Text: "it is well again"})
		}
		r.slowing[i] = slow != nil && i >= from && i < to
		service, up := s.Services[i/2%len(s.Services)], i%2 == 1
		c, err := s.Make(ctx, service, up)
		if err != nil {
			ended()
			return nil, err
		}
		r.Changes = append(r.Changes, c)
		p.say("%s", tell(c))
	}
	ended()
	if err := f.judge(p, s, r); err != nil {
		return nil, err
	}
	p.print("")
	for _, line := range strings.Split(strings.TrimRight(lab.Table(r.Changes), "\n"), "\n") {
		p.print(line)
	}
	return r, f.draw(p, r)
}

func (f fleetFlags) slowNode(l *lab.Lab) (*lab.Node, error) {
	if f.slow == "" {
		return nil, nil //nolint:nilnil // none is what was asked for
	}
	for _, n := range l.Nodes {
		if n.Name == f.slow {
			return n, nil
		}
	}
	return nil, fmt.Errorf("--slow %s: there is no such node; they are %s to %s", f.slow, l.Nodes[0].Name, l.Nodes[len(l.Nodes)-1].Name)
}

// pulse freezes a node again and again, until what it returns is called.
func pulse(ctx context.Context, n *lab.Node) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { n.Pulse(ctx, frozenFor, runningFor) })
	return func() { cancel(); wg.Wait() }
}

// tell is a change in one line.
func tell(c lab.Change) string {
	what := "is taken out of the catalog"
	if c.Up {
		what = "comes into the catalog"
	}
	quickest, last := c.Nodes[0], c.Nodes[0]
	for _, n := range c.Nodes {
		if n.Answer < quickest.Answer {
			quickest = n
		}
		if n.Answer > last.Answer {
			last = n
		}
	}
	return fmt.Sprintf("%s %s: rendered after %s, published %s, DNS of all nodes %s to %s (%s)",
		c.Service, what, ms(c.Rendered), ms(c.Published), ms(quickest.Answer), ms(last.Answer), last.Node)
}

func ms(d time.Duration) string { return fmt.Sprintf("%.0f ms", float64(d)/float64(time.Millisecond)) }

// judge holds all that DNS ever said against what was published.
func (f fleetFlags) judge(p *page, s *lab.Scene, r *result) error {
	var faults []string
	r.Verdicts, r.Versions = s.Judge(), len(s.Recorder.Versions())
	for _, v := range r.Verdicts {
		r.Answers += v.Answers
		for _, fault := range v.Faults {
			faults = append(faults, v.Node+": "+fault.Why)
		}
	}
	if len(faults) > 0 {
		return fmt.Errorf("of %d answers, %d were wrong:\n%s", r.Answers, len(faults), strings.Join(faults[:min(10, len(faults))], "\n"))
	}
	p.say("of %d answers of DNS to all %d nodes' names none was wrong or went back, over %d versions", r.Answers, len(s.Nodes), r.Versions)
	return nil
}

// draw is the picture, where one is asked for.
func (f fleetFlags) draw(p *page, r *result) error {
	if f.svg == "" {
		return nil
	}
	c := chart.Chart{
		Title:    "From the catalog to the DNS of every node",
		Subtitle: fmt.Sprintf("%d changes of the catalog, %d nodes", len(r.Changes), f.nodes),
		Marks:    r.marks,
	}
	for i, change := range r.Changes {
		for _, n := range change.Nodes {
			group := string(n.Mode)
			if n.Node == r.Slow && r.slowing[i] {
				group = n.Node + ", overloaded"
			}
			c.Dots = append(c.Dots, chart.Dot{Node: n.Node, Group: group, At: change.Began, Took: n.Answer})
		}
	}
	var b bytes.Buffer
	if err := c.Write(&b); err != nil {
		return err
	}
	if err := os.WriteFile(f.svg, b.Bytes(), 0o644); err != nil { //nolint:gosec // a picture for everybody
		return fmt.Errorf("draw the picture: %w", err)
	}
	p.say("drawn into %s", f.svg)
	return nil
}

func writeJSON(to io.Writer, value any) error {
	b, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err
	}
	_, err = to.Write(append(b, '\n'))
	return err
}
