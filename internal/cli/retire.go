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
	var reason string
	var yes, force bool
	cmd := a.with(g, "retire", uses(needsKey, flagsStore, "json verbose"), func(ctx context.Context, s *session) (report, error) {
		return s.retire(ctx, reason, yes, force)
	})
	cmd.Flags().StringVarP(&g.key, "key", "k", "", "`key` to remove")
	cmd.Flags().StringVarP(&reason, "reason", "r", "", "`reason`, shown in history")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	cmd.Flags().BoolVar(&force, "force", false, "remove the key even if nodes still have targets for it")
	return cmd
}

func (s *session) retire(ctx context.Context, reason string, yes, force bool) (report, error) {
	k := s.k
	reader := s.reader(s.store)
	roster, err := reader.Roster(ctx, 0, 0)
	if err != nil {
		return nil, err
	}
	all, err := reader.Live(ctx, roster, k)
	if err != nil {
		return nil, err
	}
	left, err := publish.Left(ctx, s.store, s.layout, k)
	if errors.Is(err, kv.ErrDenied) {
		err = fmt.Errorf("%w; the token needs the policies that `kvexpress acl publisher -k %s` and "+
			"`kvexpress acl operator -k %[2]s` print", err, k)
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
	r := retireReport{Key: k, Action: "refused", Receipts: len(named)}
	if left.None() && len(named) == 0 {
		return nil, &gate.Missing{Name: string(k)}
	}
	var unread []string
	r.Nodes, unread = fleet.Reporting(roster, all[0])
	r.Nodes = append([]string{}, r.Nodes...)
	if err := unused(r, unread); err != nil && !force {
		return r, err
	}
	if !yes {
		if err := s.confirm(string(k), fmt.Sprintf("%s and its history will be deleted; this cannot be undone", k)); err != nil {
			return r, err
		}
	}
	ctx, done := s.interruptible(ctx)
	defer done()
	e := s.by(ctx)
	e.Action, e.Key, e.Reason = hold.ActionRetire, k, reason
	if m := all[0].Manifest; m != nil {
		e.Version = m.Version
	}
	if err := publish.Retire(ctx, s.recorder(), e, left); err != nil {
		return nil, err
	}
	if err := s.dropTargets(ctx, named, k, of); err != nil {
		return nil, err
	}
	r.Action = "retired"
	s.log.Info("retired", "key", k, "reason", reason)
	return r, nil
}

// unused refuses to retire a key that nodes report, or may report in receipts that cannot be read.
func unused(r retireReport, unread []string) error {
	if len(r.Nodes) > 0 {
		return fmt.Errorf("%s: still reported by %s: %s; remove the key from agent.yml and Consul watches there; if `out` "+
			"installed it, run `kvexpress forget NODE -f FILE`; --force deletes the key anyway",
			r.Key, render.Plural(len(r.Nodes), "node"), someOf(r.Nodes))
	}
	if len(unread) > 0 {
		return fmt.Errorf("%s: %s cannot be read and may name this key: %s; run `kvexpress forget NODE` for each; --force "+
			"deletes the key anyway", r.Key, render.Plural(len(unread), "receipt"), someOf(unread))
	}
	return nil
}

// dropTargets removes the targets of a key from the receipts of nodes.
func (s *session) dropTargets(ctx context.Context, nodes []string, k kv.Key, of func(fleet.Target) bool) error {
	for _, node := range nodes {
		path := s.layout.Node(node)
		_, err := s.recorder().Do(ctx, hold.Event{}, []string{path}, func(rows kv.Snapshot) ([]kv.Op, error) {
			return fleet.Drop(s.layout, node, rows[path], of)
		})
		if err != nil {
			return fmt.Errorf("the receipt of %s still names %s; run the command again: %w", node, k, err)
		}
	}
	return nil
}

// confirm asks at the terminal to type a word before something that cannot be undone.
func (s *session) confirm(word, what string) error {
	if !render.IsTerminal(s.Stdin) {
		return fmt.Errorf("%s; without a terminal to ask, use --yes", what)
	}
	fmt.Fprintf(s.Stderr, "kvexpress: %s; type %s to continue:\n", what, word)
	line, err := bufio.NewReader(s.Stdin).ReadString('\n')
	if answer := strings.TrimSpace(line); answer != word {
		return errors.Join(fmt.Errorf("nothing changed: the answer was %s", kv.Quote(answer)), err)
	}
	return nil
}

// someOf joins the first ten names.
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
	Action   string   `json:"action"`   // "retired" or "refused"
	Nodes    []string `json:"nodes"`    // that still report it
	Receipts int      `json:"receipts"` // that named it
}

func (r retireReport) lines() []string {
	if r.Action != "retired" {
		return nil
	}
	return []string{fmt.Sprintf("%s: deleted with its history, and from %s", r.Key, render.Plural(r.Receipts, "receipt"))}
}
