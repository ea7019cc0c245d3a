package fleet

import (
	"fmt"
	"slices"

	"kvexpress/internal/kv"
)

// Forget removes a node's receipt.
func Forget(l kv.Layout, node string, row kv.Entry) ([]kv.Op, error) {
	path := l.Node(node)
	switch row.State {
	case kv.Denied:
		return nil, fmt.Errorf("read %s: %w", path, kv.ErrDenied)
	case kv.Absent:
		return nil, nil
	}
	return []kv.Op{{Verb: kv.Delete, Path: path}}, nil
}

// Drop removes targets from a node's receipt, and the whole receipt if no other target and no agent
// remains. nil ops: it has none of them. The error wraps kv.ErrDenied, or ErrReceipt if the receipt
// cannot be read.
func Drop(l kv.Layout, node string, row kv.Entry, dropped func(Target) bool) ([]kv.Op, error) {
	ops, err := Forget(l, node, row)
	if ops == nil {
		return nil, err
	}
	r, err := ParseReceipt(node, row.Value, row.Flags)
	if err != nil {
		return nil, fmt.Errorf("the receipt of %s: %w; `kvexpress forget %[1]s` removes all of it", node, err)
	}
	had := len(r.Targets)
	r.Targets = slices.DeleteFunc(r.Targets, dropped)
	check := kv.Op{Verb: kv.CheckIndex, Path: l.Node(node), Index: row.Index}
	switch {
	case len(r.Targets) == had:
		return nil, nil
	case len(r.Targets) == 0 && r.Agent == nil && r.Omitted == 0:
		return append([]kv.Op{check}, ops...), nil
	}
	r.Edited = true
	value, flags, err := r.Marshal()
	return []kv.Op{{Verb: kv.CheckAndSet, Path: l.Node(node), Value: value, Flags: flags, Index: row.Index}}, err
}

// Reporting are the nodes that are counted for a key: they report it, and have contact. unread are
// nodes whose receipts cannot be read.
func Reporting(roster Roster, live Live) (nodes, unread []string) {
	s := newScene(roster, live, Options{})
	for _, n := range roster.Nodes {
		l, ok := s.judge(n)
		switch {
		case n.Err != nil:
			unread = append(unread, n.Name)
		case ok && l.Outcome.Counted():
			nodes = append(nodes, n.Name)
		}
	}
	return nodes, unread
}
