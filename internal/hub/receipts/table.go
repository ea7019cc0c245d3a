package receipts

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"kvexpress/internal/fleet"
	"kvexpress/internal/kv"
)

// Limits of a table: its nodes, the names of removed nodes that it remembers, and the bytes of all receipts that agents sent.
const (
	maxNodes   = 100_000
	maxRemoved = 10_000
	maxTaken   = 512 << 20
	targetSize = 256 // of a target in memory, beside its texts
)

// Store is the part of a store that a table needs.
type Store interface {
	kv.Reader
	kv.Writer
	List(ctx context.Context, c kv.Consistency, prefix string, since uint64, wait time.Duration) (kv.Listing, error)
}

// Options configure a Table.
type Options struct {
	Store  Store
	Layout kv.Layout
	Hub    string // its name, for receipts
	Log    *slog.Logger
}

// Table has the newest receipt of each node. Its methods are safe for concurrent use.
type Table struct {
	o Options

	mu      sync.Mutex
	rows    map[string]*row
	base    uint64        // seq at the start, by the clock: indexes of an earlier life are lower
	seq     uint64        // of the last change
	changed chan struct{} // closed, and replaced, with each change
	dirty   chan struct{} // holds one: there is something to write
	begun   bool          // the store's receipts have been read
	taken   int           // bytes of all receipts of agents
	counts  Counts
}

// row is one node.
type row struct {
	node    string
	receipt fleet.Receipt
	err     error // why it cannot be read; then entry has it as it is stored
	seq     uint64
	dated   bool   // by a hub, when it came from the agent
	own     bool   // an agent of this hub sent the receipt
	via     string // the other hub that has contact with the node; "": none
	live    int    // connections of the node's agent to this hub
	index   uint64 // in the store; 0: it has none
	stored  []fleet.Target
	dirty   bool
	removed bool
	entry   kv.Entry // encoded; State is Denied until it is
	size    int      // of the agent's part, in bytes
	outputs []output // see shown
}

// Counts are of a table since its start.
type Counts struct {
	Taken     uint64 // from agents
	Written   uint64 // rows
	Batches   uint64 // transactions
	Conflicts uint64
	Failed    uint64
}

// New makes a table that has not read the store yet.
func New(o Options) *Table {
	now := uint64(time.Now().UnixMicro())
	return &Table{o: o, base: now, seq: now, rows: map[string]*row{}, changed: make(chan struct{}), dirty: make(chan struct{}, 1)}
}

// Connected counts the connections of a node's agent: its own receipt wins over the store's. While there is one, the hub has
// contact with the node.
func (t *Table) Connected(node string, by int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.row(node)
	if r == nil {
		return
	}
	before := r.live > 0
	if r.live = max(0, r.live+by); r.live == 0 && r.seq == 0 {
		delete(t.rows, node) // it has never reported
		return
	}
	if by > 0 {
		r.via = "" // it has come from there
	}
	if before == (r.live > 0) || r.removed || !r.dated {
		return
	}
	if before {
		r.receipt = r.receipt.There(time.Now())
	}
	t.set(r, r.receipt)
}

// row finds or makes the row of a node; nil: there are too many. mu is held.
func (t *Table) row(node string) *row {
	r := t.rows[node]
	if r == nil && len(t.rows) < maxNodes {
		r = &row{node: node, removed: true}
		t.rows[node] = r
	}
	return r
}

// Put takes the part of an agent that is connected to this hub, which has so many bytes. The error is that there is no room.
func (t *Table) Put(node string, p fleet.Part, size int) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.row(node)
	size += len(p.Targets) * targetSize
	if r == nil || t.taken-r.size+size > maxTaken {
		return errors.New("the hub has no room for more receipts")
	}
	t.counts.Taken++
	receipt := p.Into(r.receipt, node, t.o.Hub, time.Now(), t.offset())
	t.set(r, receipt)
	t.keep(r, p.Outputs, size)
	r.dated, r.own, r.via = true, true, ""
	if r.index == 0 || !slices.EqualFunc(receipt.Targets, r.stored, fleet.Same) {
		t.write(r)
	}
	return nil
}

// offset is by how many milliseconds our clock is ahead of the store's; 0 if that is unknown.
func (t *Table) offset() *int64 {
	if known := kv.ClockOffset(t.o.Store); known != nil {
		return known
	}
	return new(int64)
}

// write marks a row to be written; mu is held.
func (t *Table) write(r *row) {
	r.dirty = true
	select {
	case t.dirty <- struct{}{}:
	default:
	}
}

// set replaces a receipt; mu is held.
func (t *Table) set(r *row, receipt fleet.Receipt) {
	r.receipt, r.err, r.removed, r.entry = receipt, nil, false, kv.Entry{}
	t.note(r)
}

// note notes a change of a row, and wakes all that wait; mu is held.
func (t *Table) note(r *row) {
	t.seq++
	r.seq = t.seq
	close(t.changed)
	t.changed = make(chan struct{})
}

// remove forgets a node; mu is held.
func (t *Table) remove(r *row) {
	t.taken -= r.size
	*r = row{node: r.node, removed: true, live: r.live}
	t.note(r)
}

// trim forgets the names of removed nodes if there are too many; mu is held.
func (t *Table) trim() {
	gone := 0
	for _, other := range t.rows {
		if other.removed && other.live == 0 {
			gone++
		}
	}
	for node, other := range t.rows {
		if gone > maxRemoved && other.removed && other.live == 0 {
			delete(t.rows, node)
			gone--
		}
	}
}

// Page returns the receipts that changed after since, all for 0: at once if there are any, else after a change, or after wait.
// With own, it returns only those that agents sent to this hub.
func (t *Table) Page(ctx context.Context, since uint64, wait time.Duration, own bool) (fleet.Page, error) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		t.mu.Lock()
		changed, seq, begun := t.changed, t.seq, t.begun
		t.mu.Unlock()
		if begun && (seq != since || wait <= 0) {
			return t.page(since, own), nil
		}
		select {
		case <-changed:
		case <-timer.C:
			if !begun {
				return fleet.Page{}, &kv.StoreError{Op: "list receipts", Kind: kv.ErrUnreachable, Says: "the hub has not read the store yet"}
			}
			return t.page(since, own), nil
		case <-ctx.Done():
			return fleet.Page{}, context.Cause(ctx)
		}
	}
}

func (t *Table) page(since uint64, own bool) fleet.Page {
	t.mu.Lock()
	defer t.mu.Unlock()
	if since < t.base || since > t.seq { // of another life of this hub
		since = 0
	}
	room := maxShown
	p := fleet.Page{Index: t.seq, Now: time.Now(), ClockOffset: t.offset(), Full: since == 0, Rows: []fleet.PageRow{}}
	for _, r := range t.rows {
		if r.seq <= since || since == 0 && r.removed || own && !r.own {
			continue
		}
		row := fleet.PageRow{Node: r.node, Removed: r.removed}
		if e := r.encoded(); e.State == kv.Present {
			row.Value, row.Flags, row.Index, row.Live = e.Value, e.Flags, r.index, r.live > 0 || r.via != ""
		}
		if r.dated {
			row.Index = 0
		}
		row.Outputs = r.shown()
		if room -= size(row.Outputs); room < 0 {
			row.Outputs = nil
		}
		p.Rows = append(p.Rows, row)
	}
	return p
}

// encoded is the receipt as a row.
func (r *row) encoded() kv.Entry {
	if r.removed {
		return kv.Entry{State: kv.Absent}
	}
	if r.entry.State == kv.Denied {
		if value, flags, err := r.receipt.Marshal(); err == nil {
			r.entry = kv.Entry{State: kv.Present, Value: value, Flags: flags}
		}
	}
	return r.entry
}

// Counts are the table's counts now.
func (t *Table) Counts() Counts {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.counts
}
