package sim

import (
	"context"
	"encoding/json"
	"fmt"
	"testing/synctest"
	"time"

	"kvexpress/internal/fleet"
	"kvexpress/internal/kv"
	"kvexpress/internal/wire"
)

// latest is how long a stop or a lock may be in force when a file is replaced all the same: as old as a snapshot may be for a
// decision, or as long as a direct read may take to come back; for how long an install uses that; and how far an outdated leader is
// behind.
const latest = max(wire.Fresh, slowest) + time.Second + mostLag

// installed checks an install, right after the rename.
func (n *node) installed() {
	w, number := n.w, n.version()
	w.mu.Lock()
	defer w.mu.Unlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	w.trace.log("%s installs version %d", n.name, number)
	if number == 0 {
		return // it was overwritten already
	}
	n.had[number] = true
	if w.staged != nil {
		n.installedInStage(number)
	} else if number < n.best {
		w.fail("%s went back from version %d to %d", n.name, n.best, number)
	}
	n.best = max(n.best, number)
	var published version
	for _, v := range w.sent {
		if v.key == n.key && v.number == number {
			published = v
		}
	}
	if f := n.frozen; f.order > 0 {
		if f.order < published.order {
			w.fail("%s installed version %d, published under a stop or a lock that is still in force", n.name, number)
		}
		if d := time.Since(f.at); d > latest {
			w.fail("%s installed version %d under a stop or a lock that has been in force for %s", n.name, number, d)
		}
	}
	// What the agent knew when it decided: it may not have been older than what it had heard before.
	var frozen, free time.Time
	for _, h := range n.heard {
		if h.frozen && h.at.Before(n.decided) && h.seen.first.After(frozen) {
			frozen = h.seen.first
		} else if !h.frozen && h.seen.last.After(free) {
			free = h.seen.last
		}
	}
	if frozen.After(free) {
		w.fail("%s installed version %d, although the last snapshot before its decision said that it is stopped or locked", n.name, number)
	}
}

// number is the version of a checksum, for people.
func (w *world) number(sha256 string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if v, ok := w.sent[sha256]; ok {
		return fmt.Sprint(v.number)
	}
	return "unknown"
}

// report checks a receipt that an agent sends to a hub.
func (n *node) report(b []byte) {
	var p fleet.Part
	if err := json.Unmarshal(b, &p); err != nil {
		n.w.fail("%s: %v", n.name, err)
	}
	n.claimed(n.name+" reports", p.Targets)
}

// claim checks a receipt as a row.
func (w *world) claim(who, node string, value []byte, flags uint64) {
	r, err := fleet.ParseReceipt(node, value, flags)
	if err != nil {
		w.fail("%s a receipt of %s: %v", who, node, err)
	}
	for _, n := range w.all() {
		if n.name == node {
			n.claimed(who, r.Targets)
		}
	}
}

// claimed checks that a receipt claims no version that the disk has not had.
func (n *node) claimed(who string, targets []fleet.Target) {
	for _, t := range targets {
		if t.SHA256 == "" {
			continue
		}
		n.w.mu.Lock()
		v, known := n.w.sent[t.SHA256]
		n.w.mu.Unlock()
		n.mu.Lock()
		best, had := n.best, n.had[v.number] || v.number <= n.best && n.w.staged == nil
		n.mu.Unlock()
		if known && (v.key != n.key || !had || t.Version != 0 && t.Version != v.number) {
			n.w.fail("%s version %d (%d) of %s; its disk has had version %d", who, v.number, t.Version, n.name, best)
		}
	}
}

// claims checks all receipts of hubs and store.
func (w *world) claims() {
	synctest.Wait()
	for _, h := range w.hubs {
		h.mu.Lock()
		table, up := h.table, h.up
		h.mu.Unlock()
		if !up {
			continue
		}
		p, err := table.Page(context.Background(), 0, 0, false)
		if err != nil {
			continue // it has not read the store yet
		}
		for _, row := range p.Rows {
			if !row.Removed {
				w.claim(h.name+" has", row.Node, row.Value, row.Flags)
			}
		}
	}
	for _, n := range w.nodes {
		if e := w.receipt(n); e.State == kv.Present {
			w.claim("the store has", n.name, e.Value, e.Flags)
		}
	}
}

func (w *world) receipt(n *node) kv.Entry {
	path := w.layout.Node(n.name)
	rows, err := w.store.Read(context.Background(), kv.Default, path)
	if err != nil {
		w.Fatal(err)
	}
	return rows[path]
}

// settled checks that each node ended on the last version, and that all know.
func (w *world) settled() {
	current := [keys]uint64{w.current(0), w.current(1)}
	for _, n := range w.nodes {
		last := current[n.key]
		if got := n.version(); got != last {
			w.fail("in the end %s has version %d of %s, want %d", n.name, got, key(n.key), last)
		}
		check := func(who string, value []byte, flags uint64) {
			r, err := fleet.ParseReceipt(n.name, value, flags)
			if err != nil || len(r.Targets) != 1 || r.Targets[0].Version != last {
				w.fail("in the end %s has not the receipt of version %d of %s: %v, %+v", who, last, n.name, err, r.Targets)
			}
		}
		e := w.receipt(n)
		check("the store", e.Value, e.Flags)
		for _, h := range w.hubs {
			p, err := h.table.Page(context.Background(), 0, 0, false)
			if err != nil {
				w.fail("in the end %s: %v", h.name, err)
			}
			for _, row := range p.Rows {
				if row.Node == n.name {
					check(h.name, row.Value, row.Flags)
				}
			}
		}
	}
}
