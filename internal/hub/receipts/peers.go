package receipts

import (
	"time"

	"kvexpress/internal/fleet"
	"kvexpress/internal/kv"
)

// Take takes a page of another hub, with the receipts that agents sent to it.
func (t *Table) Take(hub string, p fleet.Page) {
	t.mu.Lock()
	defer t.mu.Unlock()
	named := make(map[string]bool, len(p.Rows))
	for _, row := range p.Rows {
		if _, err := kv.ParseNode(row.Node); err != nil || row.Removed {
			continue // the store says what was removed
		}
		named[row.Node] = true
		if r := t.row(row.Node); r != nil && r.live == 0 {
			t.takeRow(r, hub, row, time.Since(p.Now))
		}
	}
	for node, r := range t.rows {
		if p.Full && r.via == hub && !named[node] { // the hub was restarted, and the node did not come back
			t.gone(r, time.Now())
		}
	}
}

// takeRow takes a row of another hub, whose clock is behind ours. What it says of a node that has left it is outdated once the
// node has reported elsewhere. mu is held.
func (t *Table) takeRow(r *row, hub string, row fleet.PageRow, behind time.Duration) {
	receipt, err := fleet.ParseReceipt(row.Node, row.Value, row.Flags)
	if err != nil {
		return
	}
	receipt.Sent, receipt.ClockOffset = receipt.Sent.Add(behind), t.offset() // by our clock
	moved := r.via != "" && r.via != hub
	if !row.Live && !r.removed && (moved || receipt.Sent.Before(r.receipt.Sent)) {
		return
	}
	t.set(r, receipt)
	if !t.keep(r, row.Outputs, size(row.Outputs)) {
		t.keep(r, nil, 0)
	}
	if r.dated, r.own, r.via = true, false, ""; row.Live {
		r.via = hub
	}
}

// Gone notes that another hub cannot be asked, and was last asked at a time: it is not known whether its nodes are there.
func (t *Table) Gone(hub string, last time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, r := range t.rows {
		if r.via == hub {
			t.gone(r, last)
		}
	}
}

// gone notes that a node was there until a time; mu is held.
func (t *Table) gone(r *row, until time.Time) {
	r.via = ""
	if until.After(r.receipt.Sent) {
		t.set(r, r.receipt.There(until))
	} else {
		t.note(r)
	}
}
