package fleet

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"kvexpress/internal/kv"
)

// MaxPage is the largest page in JSON, in bytes.
const MaxPage = kv.MaxListing

// Page is what a hub answers about receipts: all of them, or those that changed since an earlier page.
type Page struct {
	Index uint64    `json:"index"` // of this hub, for the next question
	Now   time.Time `json:"now"`   // the hub's clock
	// ClockOffset is by how many milliseconds that clock is ahead of the store's; nil: unknown.
	ClockOffset *int64    `json:"clock_offset_ms,omitempty"`
	Full        bool      `json:"full,omitempty"`
	Rows        []PageRow `json:"rows"`
	// Seen is when the hub saw the live version of a key; without keys whose version was live when the hub started.
	Seen map[kv.Key]SeenVersion `json:"seen,omitempty"`
}

// PageRow is the receipt of a node as it is stored.
type PageRow struct {
	Node    string `json:"node"`
	Value   []byte `json:"value,omitempty"`
	Flags   uint64 `json:"flags,omitempty"`
	Index   uint64 `json:"index"` // in the store; 0: a hub has dated the receipt itself
	Removed bool   `json:"removed,omitempty"`
	Live    bool   `json:"live,omitempty"` // a hub has contact with the node now
	// Outputs are of keys that the caller's token may read.
	Outputs []Output `json:"outputs,omitempty"`
}

// SeenVersion is when a hub saw the version with these bytes, by its clock.
type SeenVersion struct {
	SHA256 string    `json:"sha256"`
	At     time.Time `json:"at"`
}

// Hub is a source of pages: the receipts that changed after since, or all for 0. It waits for a change, at most for wait.
type Hub interface {
	Page(ctx context.Context, since uint64, wait time.Duration) (Page, error)
}

// ParsePage decodes a page.
func ParsePage(b []byte) (Page, error) {
	var p Page
	if err := json.Unmarshal(b, &p); err != nil || p.Now.IsZero() || p.Index == 0 {
		return Page{}, fmt.Errorf("the answer about receipts does not come from a hub: %w", cmp.Or(err, kv.ErrNotStore))
	}
	return p, nil
}

// merge takes a page into the rows of earlier ones, and returns all rows. It forgets what it decoded of changed receipts.
func (r *Reader) merge(p Page) kv.Listing {
	if p.Full || r.rows == nil {
		r.rows, r.known, r.live, r.outputs = map[string]kv.Row{}, map[string]Node{}, map[string]bool{}, map[string][]Output{}
	}
	for _, row := range p.Rows {
		path := r.Layout.Node(row.Node)
		delete(r.known, path)
		r.live[path] = row.Live && row.Index == 0
		r.outputs[path] = row.Outputs
		if delete(r.rows, path); !row.Removed {
			r.rows[path] = kv.Row{Path: path, Entry: kv.Entry{State: kv.Present, Value: row.Value, Flags: row.Flags, Index: row.Index}}
		}
	}
	return kv.Listing{Index: p.Index, Rows: slices.SortedFunc(maps.Values(r.rows),
		func(a, b kv.Row) int { return cmp.Compare(a.Path, b.Path) })}
}

// fromHub is the roster of a hub.
func (r *Reader) fromHub(ctx context.Context, since uint64, wait time.Duration) (Roster, error) {
	if r.rows == nil {
		since = 0
	}
	p, err := r.Hub.Page(ctx, since, wait)
	if err != nil {
		return Roster{}, err
	}
	roster := r.roster(r.merge(p))
	ahead := (roster.Read.Sub(p.Now) + skew(p.ClockOffset)).Milliseconds()
	roster.ClockOffset, roster.hubClock, roster.seen = &ahead, Offset(skew(p.ClockOffset)), p.Seen
	for i, n := range roster.Nodes {
		roster.Nodes[i].Outputs = r.outputs[r.Layout.Node(n.Name)]
		if r.live[r.Layout.Node(n.Name)] {
			roster.Nodes[i].Receipt, roster.Nodes[i].Live = n.Receipt.There(p.Now), true
		}
	}
	return roster, nil
}
