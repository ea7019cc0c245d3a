package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"kvexpress/internal/cli/render"
	"kvexpress/internal/fleet"
	"kvexpress/internal/kv"
	"kvexpress/internal/outcome"
)

// errNoNode is a node without a receipt, or without a file of the key.
var errNoNode = errors.New("no receipt names a node or host")

// nodeReport is the status of one node.
type nodeReport struct {
	fleet.NodeReport

	asked bool // the receipts are those of a hub
}

func (s *session) statusOfNode(ctx context.Context, f statusFlags) (report, error) {
	if f.key != "" {
		if _, err := s.key(f.key); err != nil {
			return nil, err
		}
	}
	reader := s.reader(s.store)
	roster, err := reader.Roster(ctx, 0, 0)
	if err != nil {
		return nil, err
	}
	node, err := oneNode(roster, f.node.name)
	if err != nil {
		return nil, err
	}
	if err := only(&node, f.key, s.k); err != nil {
		return nil, err
	}
	all, err := reader.Live(ctx, roster, node.Keys()...)
	if err != nil {
		return nil, err
	}
	for i := range all {
		if all[i].Err != nil {
			all[i].Err = errors.New(s.guide().Explain(all[i].Err))
		}
	}
	found := fleet.ExamineNode(roster, node, all, fleet.Options{Expiry: f.wait.expiry})
	return &nodeReport{NodeReport: found, asked: s.hub != nil}, nil
}

// only leaves out the files of other keys; of all, if no key is given.
func only(node *fleet.Node, given string, k kv.Key) error {
	if given == "" {
		return nil
	}
	files := slices.Clone(node.Receipt.Targets)
	if files = slices.DeleteFunc(files, func(t fleet.Target) bool { return t.Key != string(k) }); len(files) == 0 {
		return fmt.Errorf("%w with a file of the key %s; %s has other keys: add a target to its agent.yml, or a watch with "+
			"`kvexpress out`", errNoNode, k, render.Line(node.Name))
	}
	node.Receipt.Targets, node.Receipt.Omitted = files, 0
	return nil
}

// oneNode finds a node by its name, else by the name of its host.
func oneNode(roster fleet.Roster, name string) (fleet.Node, error) {
	if i := slices.IndexFunc(roster.Nodes, func(n fleet.Node) bool { return n.Name == name }); i >= 0 {
		n := roster.Nodes[i]
		if n.Err != nil {
			return n, fmt.Errorf("the receipt of %s cannot be read: %w; if a newer kvexpress wrote it, upgrade this one; else "+
				"`kvexpress forget %[1]s` removes it, and the node writes another", render.Line(name), n.Err)
		}
		return n, nil
	}
	switch on := roster.On(name); len(on) {
	case 0:
		remedy := cmp.Or(similarNode(roster, name), "; check the name, and that the node runs the agent")
		return fleet.Node{}, fmt.Errorf("%w %s%s", errNoNode, name, remedy)
	case 1:
		return on[0], nil
	default:
		return fleet.Node{}, fmt.Errorf("%d nodes run on the host %s; name one of them with --node, such as %s", len(on), name,
			render.Line(on[0].Name))
	}
}

func (r *nodeReport) lines() []string {
	lines := []string{render.Line(r.Node) + ": " + r.who()}
	if off := time.Duration(r.ClockOff); off != 0 {
		lines = append(lines, fmt.Sprintf("  its clock is %s by about %s", ahead(off), render.Span(off.Abs())))
	}
	rows := [][]string{{"KEY", "FILE", "OUTCOME", "VERSION", "FOR", "LAST SEEN", "WHY"}}
	for _, t := range r.Targets {
		rows = append(rows, []string{t.Key, t.File, t.Outcome.Text(), render.Number(t.Version, "-"),
			render.Span(time.Duration(t.Since)), render.Span(time.Duration(t.LastSeen)) + " ago", targetWhy(t)})
	}
	if len(r.Targets) == 0 {
		return append(lines, "  it reports no file")
	}
	lines = append(append(lines, ""), render.TableWith(rows, nil, func(n int) []string { return firstLines(r.Targets[n].Line) })...)
	if r.Omitted > 0 {
		lines = append(lines, fmt.Sprintf("  and %s that did not fit into the receipt", render.Plural(r.Omitted, "file")))
	}
	return lines
}

// who says who reports for the node, and whether it is there.
func (r *nodeReport) who() string {
	seen := render.Span(time.Duration(r.LastSeen)) + " ago"
	agent := "agent " + render.Line(r.Agent)
	switch {
	case r.Agent == "":
		return "no agent; `kvexpress out` last reported " + seen
	case r.Hub == "":
		return agent + ", last seen " + seen
	case r.Connected:
		return agent + ", connected to the hub " + render.Line(r.Hub)
	case r.asked:
		return agent + ", not connected; last seen by the hub " + render.Line(r.Hub) + " " + seen
	}
	return fmt.Sprintf("%s, reports through the hub %s, last %s; whether it is connected, only a hub knows: add --hub", agent,
		render.Line(r.Hub), seen)
}

// targetWhy explains the outcome of a target.
func targetWhy(t fleet.TargetReport) string {
	if t.Outcome == outcome.Outdated && t.Detail == "" && t.Live > 0 {
		return fmt.Sprintf("version %d is live", t.Live)
	}
	return why(t.Line)
}
