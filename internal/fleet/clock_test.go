package fleet

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"kvexpress/internal/kv"
	"kvexpress/internal/outcome"
)

const day = 24 * time.Hour

// offset is the offset of a machine's clock, as it measured it.
func offset(d time.Duration) *int64 {
	ms := d.Milliseconds()
	return &ms
}

// A receipt was not sent before the publish that the store had already, whatever its clock shows: it has contact, is outdated and
// counts, although the store of its node, a Consul agent of its own, has the same wrong clock.
func TestReceiptAfterThePublish(t *testing.T) {
	published := start().Add(time.Hour)
	standing := Live{Key: "hosts", Exists: true, SHA256: sha(2), Index: 1000}
	standing.Manifest = &kv.Manifest{Lineage: "l", Version: 2, SHA256: sha(2), PublishedAt: published, ClockOffset: offset(0)}
	for index, want := range map[uint64]string{1001: "1 converged, 1 outdated", 999: "1 converged, 1 no_contact"} {
		roster := Roster{Read: published.Add(10 * time.Second), ClockOffset: offset(0)}
		for i, target := range []Target{has(1), has(2)} {
			r := Receipt{Sent: published.Add(time.Second), ClockOffset: offset(0), Targets: []Target{target}}
			r.Agent = &Agent{Every: Millis(5 * time.Minute)}
			roster.Nodes = append(roster.Nodes, Node{Name: fmt.Sprint(i), Index: index + uint64(2*i), Receipt: r})
		}
		roster.Nodes[0].Receipt.Sent = published.Add(-20 * time.Minute)
		if got := counts(Examine(roster, standing, Options{})); got != want {
			t.Errorf("with the index %d: %s, want %s", index, got, want)
		}
	}
}

// Whichever clock is wrong: no node loses contact, and an outdated fleet does not count as converged. Only
// the node that wrote first needs a store that shows its offset; a local Consul agent does not.
func TestClocksLoseNoContact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		offs := rapid.SampledFrom([]time.Duration{0, 0, day, -day, 10 * time.Second, -10 * time.Second, time.Hour})
		measured := func(who string) (time.Duration, *int64) {
			off := offs.Draw(t, who)
			return off, offset(off)
		}
		published := start().Add(5 * time.Minute)
		off, by := measured("publisher")
		m := kv.Manifest{Lineage: "l", Version: 2, SHA256: sha(2), PublishedAt: published.Add(off), ClockOffset: by}
		standing := Live{Key: "hosts", Exists: true, SHA256: sha(2), Index: 1000, Manifest: &m}
		off, by = measured("here")
		roster := Roster{Read: published.Add(10*time.Second + off), ClockOffset: by}
		n := rapid.IntRange(1, 14).Draw(t, "nodes")
		for i := range n {
			node := Node{Name: fmt.Sprintf("web-%d", i), Index: uint64(100 + i)}
			sent := start().Add(time.Duration(i) * 5 * time.Minute / time.Duration(n))
			target := has(1)
			if i > 0 && rapid.Bool().Draw(t, "reports") {
				node.Index += 1000
				sent, target = published.Add(time.Duration(i)*9*time.Second/time.Duration(n)), has(2)
			}
			off, by := measured(node.Name)
			if i > 0 && rapid.Bool().Draw(t, "its store does not tell") {
				by = offset(0)
			}
			node.Receipt = Receipt{Node: node.Name, Sent: sent.Add(off), ClockOffset: by, Targets: []Target{target}}
			node.Receipt.Agent = &Agent{Every: Millis(5 * time.Minute)}
			roster.Nodes = append(roster.Nodes, node)
		}
		if r := Examine(roster, standing, Options{}); r.Outcomes[outcome.NoContact]+r.Outcomes[outcome.Expired] > 0 {
			t.Fatalf("%+v", r)
		}
	})
}
