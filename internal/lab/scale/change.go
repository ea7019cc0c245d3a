//go:build linux

package scale

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"kvexpress/internal/fleet"
	"kvexpress/internal/kv"
)

// hosts is a hosts file of 600 lines, 22 KB, that differs with n in every line.
func hosts(n int) []byte {
	var b bytes.Buffer
	for i := range 600 {
		fmt.Fprintf(&b, "10.%d.%d.%d web-%04d.example web-%04d\n", n%250, i/250, i%250, i, i)
	}
	return b.Bytes()
}

// change publishes the hosts file, and looks at what became of it.
func (s *site) change(ctx context.Context, content []byte) (Change, error) {
	if err := os.WriteFile(s.source, content, 0o600); err != nil {
		return Change{}, err
	}
	return s.deliver(ctx, keyHosts, content, "-f", s.source)
}

// deliver publishes content from where the arguments say, waits until all have it and the
// fleet is at rest, lets as much time pass again, and looks at every node from outside.
func (s *site) deliver(ctx context.Context, k kv.Key, content []byte, from ...string) (Change, error) {
	s.published[k]++
	before, err := s.usage()
	if err != nil {
		return Change{}, err
	}
	args := []string{"in", "-k", string(k), "-l", fmt.Sprint(fewest), "--wait", "100%", "--timeout", s.Limit.String(), "--json"}
	in, err := s.kvexpress(ctx, append(args, from...)...)
	if err != nil {
		return Change{}, fmt.Errorf("%w\n%s", err, s.missing(in.out, k, content))
	}
	if err := s.pause(ctx, s.Settle); err != nil {
		return Change{}, err
	}
	after, err := s.usage()
	if err != nil {
		return Change{}, err
	}
	if err := s.pause(ctx, after.at.Sub(before.at)); err != nil {
		return Change{}, err
	}
	rest, err := s.usage()
	if err != nil {
		return Change{}, err
	}
	c := Change{Key: k, Nodes: s.Nodes, Busy: after.since(before), Rest: rest.since(after), Took: fleet.Millis(in.ended.Sub(in.began))}
	c.Busy.Publisher = in.cpu
	if err := s.ask(ctx, k, &c); err != nil {
		return c, err
	}
	return c, s.look(ctx, k, content, in, &c)
}

// maxMissing is how many nodes that are missing are told of.
const maxMissing = 5

// missing is what there is to say of the nodes that a wait named.
func (s *site) missing(said []byte, k kv.Key, content []byte) string {
	var told struct {
		Wait struct{ Fleet fleet.Report }
	}
	if err := json.Unmarshal(said, &told); err != nil {
		return string(said)
	}
	var b bytes.Buffer
	r := told.Wait.Fleet
	for _, l := range append(r.Stragglers, r.SilentNodes...)[:min(maxMissing, len(r.Stragglers)+len(r.SilentNodes))] {
		fmt.Fprintf(&b, "%s: %s, version %d of %d, %s for %v, heard %v ago: %s\n", l.Node, l.Verdict, l.Version, r.Version, l.State, round(l.Since), round(l.Heard), l.Detail)
		for _, n := range s.nodes {
			if n.name == l.Node {
				got, err := os.ReadFile(n.file(k))
				fmt.Fprintf(&b, "its file is right: %t (%v); its log:\n%s\n", bytes.Equal(got, content), err, lastWords(n.log()))
			}
		}
	}
	return b.String()
}

// ask is what `status` tells.
func (s *site) ask(ctx context.Context, k kv.Key, c *Change) error {
	status, err := s.kvexpress(ctx, "status", "-k", string(k), "--json")
	if err != nil {
		return err
	}
	return json.Unmarshal(status.out, &c.Status)
}

// look reads every receipt, file and trace, and holds them against each other.
func (s *site) look(ctx context.Context, k kv.Key, content []byte, in ran, c *Change) error {
	var err error
	if c.Told, err = s.told(ctx, k); err != nil {
		return err
	}
	if c.Status.Published == nil {
		return fmt.Errorf("status does not tell when version %d of %s was published", c.Status.Version, k)
	}
	published := *c.Status.Published
	// By our own clock, which is the machine's: that of all of them.
	if published.Before(in.began) || published.After(in.ended) {
		c.problem("status says that it was published at %v, and the publisher ran from %v to %v", published, in.began, in.ended)
	}
	for _, n := range s.nodes {
		got, err := n.look(k, content, c.Status.Version, c.Status.SHA256, s.published[k])
		c.Right += got.right
		c.Ran += got.ran
		if err != nil {
			c.problem("%s: %v", n.name, err)
			continue
		}
		c.Seen = append(c.Seen, Seen{Node: n.name, InPlace: got.inPlace.Sub(published), Done: got.done.Sub(published)})
	}
	if r := c.Status; r.Nodes != s.Nodes || r.Arrived != s.Nodes || r.ClocksUnsure || len(r.Unread) > 0 {
		c.problem("status says that %d of %d nodes have it, and there are %d; clocks unsure: %t, unread: %v", r.Arrived, r.Nodes, s.Nodes, r.ClocksUnsure, r.Unread)
	}
	c.Compared = Compare(c.Status, c.Told, c.Seen, s.Tolerance)
	return nil
}

// told is what the receipts behind `status` say of each node.
func (s *site) told(ctx context.Context, k kv.Key) ([]Told, error) {
	roster, err := s.reader.Roster(ctx, 0, 0)
	if err != nil {
		return nil, err
	}
	standings, err := s.reader.Standings(ctx, k)
	if err != nil {
		return nil, err
	}
	if standings[0].Err != nil {
		return nil, standings[0].Err
	}
	m := standings[0].Manifest
	if m == nil {
		return nil, fmt.Errorf("%s has no manifest", k)
	}
	byName := map[string]Told{}
	for _, n := range roster.Nodes {
		if p := targetOf(n.Receipt, k).Placed; p != nil {
			byName[n.Name] = Told{Place: time.Duration(p.Steps.Place), Exec: time.Duration(p.Steps.Exec), Sent: n.Receipt.Sent.Sub(m.PublishedAt)}
		}
	}
	var all []Told
	for _, d := range fleet.Deliveries(roster, standings[0], fleet.Options{}) {
		t := byName[d.Node]
		t.Node, t.InPlace = d.Node, d.Took
		all = append(all, t)
	}
	return all, nil
}

func targetOf(r fleet.Receipt, k kv.Key) fleet.Target {
	for _, t := range r.Targets {
		if t.Key == string(k) {
			return t
		}
	}
	return fleet.Target{}
}
