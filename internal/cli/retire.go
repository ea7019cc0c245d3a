package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"kvexpress/internal/cli/render"
	"kvexpress/internal/fleet"
	"kvexpress/internal/gate"
	"kvexpress/internal/hold"
	"kvexpress/internal/kv"
	"kvexpress/internal/publish"
)

func (a *App) newRetire(g *globals) *cobra.Command {
	var name, reason string
	var yes, force bool
	cmd := a.with(g, &cobra.Command{
		Use:   "retire -k KEY",
		Short: "Delete a key and its history from the store",
		Long: `Remove a key with its history from the store, and from the receipts of all nodes. Files on
nodes stay as they are. Nothing of it can be brought back.

End the publisher, and remove the key from every agent.yml and watch before: while nodes
still have targets on the key, it is refused, and names them. --force retires it all the
same. A node that still has it keeps its file, and reports that the key is missing.

It asks first; --yes does not. A retire that was cut off can be repeated. It needs the
policies of publisher and operator. "history --events" shows later who retired it.`,
		Example: `  kvexpress retire -k hosts -r 'the service is gone'
  kvexpress retire -k hosts --yes`,
		Annotations: uses(flagsStore, "json verbose"),
	}, func(ctx context.Context, s *session, _ []string) (report, error) {
		return s.retire(ctx, name, reason, yes, force)
	})
	cmd.Flags().StringVarP(&name, "key", "k", "", "`key` to remove")
	cmd.Flags().StringVarP(&reason, "reason", "r", "", "`reason`, shown in history")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	cmd.Flags().BoolVar(&force, "force", false, "remove the key even if nodes still have targets for it")
	return cmd
}

func (s *session) retire(ctx context.Context, name, reason string, yes, force bool) (report, error) {
	k, err := s.key(name)
	if err != nil {
		return nil, err
	}
	reader := fleet.Reader{Store: s.store, Layout: s.layout}
	roster, err := reader.Roster(ctx, 0, 0)
	if err != nil {
		return nil, err
	}
	now, err := reader.Live(ctx, roster, k)
	if err != nil {
		return nil, err
	}
	left, err := publish.Left(ctx, s.store, s.layout, k)
	if errors.Is(err, kv.ErrDenied) {
		err = fmt.Errorf("%w; it needs the policy of `kvexpress acl publisher -k %s` and of `kvexpress acl operator -k %[2]s`", err, k)
	}
	if err != nil {
		return nil, err
	}
	of := func(t fleet.Target) bool { return t.Key == string(k) }
	var named []string // nodes whose receipts name the key
	for _, n := range roster.Nodes {
		if slices.ContainsFunc(n.Receipt.Targets, of) {
			named = append(named, n.Name)
		}
	}
	r := retireReport{Key: k, Outcome: "refused", Receipts: len(named)}
	if left.None() && len(named) == 0 {
		return nil, &gate.Missing{Name: string(k)}
	}
	var unread []string
	r.Nodes, unread = fleet.Reporting(roster, now[0])
	r.Nodes = append([]string{}, r.Nodes...)
	switch {
	case force:
	case len(r.Nodes) > 0:
		return r, fmt.Errorf("%s: nodes still have targets on it (%d): %s; remove the key from their agent.yml and watches, drop what "+
			"`kvexpress out` installed with `kvexpress forget NODE -f FILE`, or give --force", k, len(r.Nodes), someOf(r.Nodes))
	case len(unread) > 0:
		return r, fmt.Errorf("%s: receipts that cannot be read may name it (%d): %s; `kvexpress forget NODE` drops one, or give "+
			"--force", k, len(unread), someOf(unread))
	}
	if !yes {
		if err := s.confirm(string(k), fmt.Sprintf("%s and its history are removed for good", k)); err != nil {
			return r, err
		}
	}
	ctx, done := s.interruptible(ctx)
	defer done()
	e := s.by(ctx)
	e.Action, e.Key, e.Reason = hold.ActionRetire, k, reason
	if m := now[0].Manifest; m != nil {
		e.Version = m.Version
	}
	if err := publish.Retire(ctx, s.recorder(), e, left); err != nil {
		return nil, err
	}
	for _, node := range named {
		path := s.layout.Node(node)
		_, err := s.recorder().Do(ctx, hold.Event{}, []string{path}, func(rows kv.Snapshot) ([]kv.Op, error) {
			return fleet.Drop(s.layout, node, rows[path], of)
		})
		if err != nil {
			return nil, fmt.Errorf("the receipt of %s still names %s; run the command again: %w", node, k, err)
		}
	}
	r.Outcome = "retired"
	s.log.Info("retired", "key", k, "reason", reason)
	return r, nil
}

// confirm asks people at a terminal to type a word before something is done for good.
func (s *session) confirm(word, what string) error {
	if !render.IsTerminal(s.Stdin) {
		return fmt.Errorf("%s; without a terminal to ask at, give --yes", what)
	}
	fmt.Fprintf(s.Stderr, "kvexpress: %s; type %s to go on:\n", what, word)
	line, err := bufio.NewReader(s.Stdin).ReadString('\n')
	if answer := strings.TrimSpace(line); answer != word {
		return errors.Join(fmt.Errorf("nothing was done: the answer is %s", kv.Quote(answer)), err)
	}
	return nil
}

// someOf are the first of many names.
func someOf(names []string) string {
	const most = 10
	text := strings.Join(names[:min(most, len(names))], ", ")
	if more := len(names) - most; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

type retireReport struct {
	Key      kv.Key   `json:"key"`
	Outcome  string   `json:"outcome"`
	Nodes    []string `json:"nodes"`    // that still have targets on it
	Receipts int      `json:"receipts"` // that named it
}

func (r retireReport) lines() []string {
	if r.Outcome != "retired" {
		return nil
	}
	return []string{fmt.Sprintf("%s: retired, with its history; %s named it", r.Key, render.Plural(r.Receipts, "receipt"))}
}
