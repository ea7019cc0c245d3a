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

// nodeValue is the flag --node: the name of a node or of its host. An empty value, as from an
// unset variable, is refused: it must not mean this machine.
type nodeValue struct{ name string }

func (v *nodeValue) String() string { return v.name }
func (v *nodeValue) Type() string   { return "string" }

func (v *nodeValue) Set(s string) (err error) {
	v.name, err = kv.ParseNode(s)
	return err
}

// listValue is a flag that can be repeated. Its type is "string", as for the flags of the same name that take one value.
type listValue []string

func (v *listValue) String() string     { return strings.Join(*v, ", ") }
func (v *listValue) Type() string       { return "string" }
func (v *listValue) Set(s string) error { *v = append(*v, s); return nil }

// nodeFile is a file on a node. Locks are for one nodeFile.
type nodeFile struct {
	file string // absolute
	real string // the path that file resolves to, if it differs; else ""
	node string // the operating system's host name
	here bool   // the node is this machine
}

// nodeFile is the file of -f on the node of --node. The default is this machine. A relative path is
// made absolute, which only works here.
func (s *session) nodeFile(name, node string) (nodeFile, error) {
	p := nodeFile{node: cmp.Or(node, s.host)}
	p.here = p.node == s.host
	if name != "" && !p.here && !filepath.IsAbs(name) {
		return p, fmt.Errorf("%s is a relative path, which means nothing on %s; give an absolute path with -f", kv.Quote(name), p.node)
	}
	var err error
	if p.file, err = install.ParseFile(name); err != nil || !p.here {
		return p, err
	}
	// If it cannot be resolved, out cannot write it either.
	if real, err := install.Resolve(p.file); err == nil && real != p.file {
		p.real = real
	}
	return p, nil
}

// nodeFileByReceipt is nodeFile with the host name that receipts have for a node. A --node without a
// receipt is taken for a host name.
func (s *session) nodeFileByReceipt(name, node string, roster fleet.Roster) (p nodeFile, nodes []fleet.Node, err error) {
	if p, err = s.nodeFile(name, node); err != nil || p.here {
		return p, nil, err
	}
	nodes = roster.On(p.node)
	for _, n := range nodes {
		if n.Host() != nodes[0].Host() {
			return p, nil, fmt.Errorf("%s is the name of a node or a host on both %s and %s; name the host with --node, and use "+
				"`lock --force` if it is %[1]s", p.node, render.Line(nodes[0].Host()), render.Line(n.Host()))
		}
	}
	if len(nodes) > 0 {
		p.node = nodes[0].Host()
	}
	if p.node == s.host {
		p, err = s.nodeFile(name, "")
	}
	return p, nodes, err
}

// nodeFileToLock refuses a node without a receipt, where a lock would have no effect, and warns of a
// file that no receipt of the node names.
func (s *session) nodeFileToLock(ctx context.Context, name, node string) (nodeFile, error) {
	p, err := s.nodeFile(name, node)
	if err != nil || p.here {
		return p, err
	}
	reader := s.reader(s.plain)
	roster, err := reader.Roster(ctx, 0, 0)
	if err != nil {
		return p, fmt.Errorf("%w; --force needs no receipts, and takes %s for a host name", err, p.node)
	}
	p, nodes, err := s.nodeFileByReceipt(name, node, roster)
	if err != nil {
		return p, err
	}
	if len(nodes) == 0 {
		return p, fmt.Errorf("no receipt names a node or host %s%s; --force locks the file on a host with this name", node,
			similarNode(roster, node))
	}
	reported := slices.ContainsFunc(nodes, func(n fleet.Node) bool {
		return n.Receipt.Omitted > 0 || // not all of its files are in the receipt
			slices.ContainsFunc(n.Receipt.Targets, func(t fleet.Target) bool { return t.File == p.file })
	})
	if !reported {
		s.warn(fmt.Sprintf("%s has reported no file %s; check that the path is right", node, p.file))
	}
	return p, nil
}

// similarNode suggests a node whose name differs only in its domain.
func similarNode(roster fleet.Roster, name string) string {
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

// files are the paths that are locked: 1.x uses the given path, also of a link.
func (p nodeFile) files() []string { return slices.Compact([]string{p.file, cmp.Or(p.real, p.file)}) }

// on is the node in a sentence: "on this node", "on web-17".
func (p nodeFile) on() string {
	if p.here {
		return "on this node"
	}
	return "on " + p.node
}

// unlock is the command line that ends the lock.
func (p nodeFile) unlock() string {
	if p.here {
		return "kvexpress unlock -f " + p.file
	}
	return fmt.Sprintf("kvexpress unlock -f %s --node %s", p.file, p.node)
}
