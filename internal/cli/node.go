package cli

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"kvexpress/internal/cli/render"
	"kvexpress/internal/fleet"
	"kvexpress/internal/install"
	"kvexpress/internal/kv"
)

// nodeValue is the flag --node: the name of a node, or of its host. One that is given and
// empty, as by a variable that is not set, is refused: it must not mean this one.
type nodeValue struct{ name string }

func (v *nodeValue) String() string { return v.name }
func (v *nodeValue) Type() string   { return "string" }

func (v *nodeValue) Set(s string) (err error) {
	v.name, err = kv.ParseNode(s)
	return err
}

// listValue is a flag that may be given more than once. Its kind is that of the same
// flag of other commands, which take one.
type listValue []string

func (v *listValue) String() string     { return strings.Join(*v, ", ") }
func (v *listValue) Type() string       { return "string" }
func (v *listValue) Set(s string) error { *v = append(*v, s); return nil }

// spot is a file on a node.
type spot struct {
	file string // an absolute path
	real string // where it leads, if that is another path; else ""
	node string // the operating system's host name
	here bool   // the node is this machine
}

// spotOf is the file of -f on the node of --node, which is this machine without.
// A relative path is made absolute here, and so must be of a file that is here.
func (s *session) spotOf(name, node string) (spot, error) {
	p := spot{node: cmp.Or(node, s.host)}
	p.here = p.node == s.host
	if name != "" && !p.here && !filepath.IsAbs(name) {
		return p, fmt.Errorf("%s is not an absolute path; on %s nobody knows where it begins: give the whole path with -f",
			kv.Quote(name), p.node)
	}
	var err error
	if p.file, err = install.ParseFile(name); err != nil || !p.here {
		return p, err
	}
	// If it cannot be resolved, out cannot write it.
	if real, err := install.Resolve(p.file); err == nil && real != p.file {
		p.real = real
	}
	return p, nil
}

// files are the paths under which the file is locked: 1.x goes by the one that was given.
func (p spot) files() []string {
	if p.real == "" {
		return []string{p.file}
	}
	return []string{p.file, p.real}
}

// onHost makes the node the host that receipts know by that name, and returns its nodes: none if
// no receipt knows it. The error tells that several hosts go by it.
func (p *spot) onHost(s *session, roster fleet.Roster) ([]fleet.Node, error) {
	nodes := roster.On(p.node)
	for _, n := range nodes {
		if n.Host() != nodes[0].Host() {
			return nil, fmt.Errorf("%s is the name of a node or a host on both %s and %s; name the host with --node, and use "+
				"`lock --force` if it is %[1]s", p.node, render.Line(nodes[0].Host()), render.Line(n.Host()))
		}
	}
	if len(nodes) > 0 {
		p.node = nodes[0].Host()
	}
	p.here = p.node == s.host
	return nodes, nil
}

// known is onHost for a lock: it refuses a node that no receipt knows, where the lock would hold
// nothing, and warns of a file that none names.
func (p *spot) known(ctx context.Context, s *session) error {
	reader := fleet.Reader{Store: s.plain, Layout: s.layout}
	roster, err := reader.Roster(ctx, 0, 0)
	if err != nil {
		return fmt.Errorf("%w; --force locks it without a look at the receipts, and takes %s for a host name", err, p.node)
	}
	name := p.node
	nodes, err := p.onHost(s, roster)
	if err != nil {
		return err
	}
	if len(nodes) == 0 {
		return fmt.Errorf("no receipt knows a node or a host %s%s; --force locks the file there all the same, by that host name", name,
			alike(roster, name))
	}
	whole := !slices.ContainsFunc(nodes, func(n fleet.Node) bool { return n.Receipt.Omitted > 0 })
	if whole && !slices.ContainsFunc(roster.On(p.node), func(n fleet.Node) bool {
		return slices.ContainsFunc(n.Receipt.Targets, func(t fleet.Target) bool { return t.File == p.file })
	}) {
		s.warn(fmt.Sprintf("%s has reported no file %s: is this its whole path there?", name, p.file))
	}
	return nil
}

// alike suggests nodes whose names differ from a name by their domain alone.
func alike(roster fleet.Roster, name string) string {
	first, _, _ := strings.Cut(name, ".")
	for _, n := range roster.Nodes {
		for _, other := range []string{n.Name, n.Host()} {
			if is, _, _ := strings.Cut(other, "."); is == first {
				return fmt.Sprintf("; did you mean %s?", render.Line(other))
			}
		}
	}
	return ""
}

// on says where, for people: "on this node", "on web-17".
func (p spot) on() string {
	if p.here {
		return "on this node"
	}
	return "on " + p.node
}

// logged is what the log says of it.
func (p spot) logged(more ...any) []any {
	fields := []any{"file", p.file}
	if !p.here {
		fields = append(fields, "node", p.node)
	}
	return append(fields, more...)
}

// unlock is the command line that lifts the lock of the file.
func (p spot) unlock() string {
	if p.here {
		return "kvexpress unlock -f " + p.file
	}
	return fmt.Sprintf("kvexpress unlock -f %s --node %s", p.file, p.node)
}

// rfc3339 is a time for programs.
