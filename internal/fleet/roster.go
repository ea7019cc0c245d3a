package fleet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"kvexpress/internal/kv"
	"kvexpress/internal/safetext"
)

// ErrLeftOut is a receipt that was not read because all of them together have more than MaxDecoded
// bytes.
var ErrLeftOut = fmt.Errorf("left out: all receipts together have more than %d MiB", MaxDecoded>>20)

// Node is a node's receipt.
type Node struct {
	Name    string
	Receipt Receipt
	Err     error  // why it cannot be used; nil if it can
	Index   uint64 // its place in the order of the store's writes
	Live    bool   // a hub has contact with it now
	Outputs []Output

	size int64 // in memory
}

// Host is the operating system's host name of the node.
func (n Node) Host() string { return cmp.Or(n.Receipt.Host, n.Name) }

// Roster is a snapshot of all receipts.
type Roster struct {
	Nodes []Node    // sorted by name
	Read  time.Time // when the answer came, by our own clock
	// ClockOffset is by how many milliseconds that clock is ahead of the store's; nil: unknown.
	ClockOffset *int64
	Index       uint64 // to wait for the next change

	seen     map[kv.Key]SeenVersion // by a hub
	hubClock Offset                 // by how much that hub's clock is ahead of the store's; 0 within two seconds
}

// On lists the nodes with this name or host name.
func (r Roster) On(name string) []Node {
	var on []Node
	for _, n := range r.Nodes {
		if n.Err == nil && (n.Name == name || n.Host() == name) {
			on = append(on, n)
		}
	}
	return on
}

// Keys adds the keys that nodes report to the published ones, and sorts them. A receipt can name any
// key, so it adds most at most; more is how many it left out.
func (r Roster) Keys(published []kv.Key, most int) (keys []kv.Key, more int) {
	reported := map[kv.Key]bool{}
	for _, n := range r.Nodes {
		for _, t := range n.Receipt.Targets {
			if k, err := kv.ParseKey(t.Key); err == nil {
				reported[k] = true
			}
		}
	}
	for _, k := range published {
		delete(reported, k)
	}
	others := slices.Sorted(maps.Keys(reported))
	keys = slices.Concat(published, others[:min(len(others), most)])
	slices.Sort(keys)
	return keys, len(published) + len(others) - len(keys)
}

// Reader reads receipts, and keys. It decodes again only receipts that have changed since its last
// Roster. It is not safe for concurrent use.
type Reader struct {
	Store  kv.Store
	Layout kv.Layout
	Hub    Hub // has the receipts; nil: the store has them

	known map[string]Node   // by path; nil before the first Roster
	rows  map[string]kv.Row // by path, of a hub
	live  map[string]bool   // by path: a hub has contact with the node

	outputs map[string][]Output // by path, of a hub
}

// Roster reads all receipts. With since, it waits for a change first, at most for wait. If some
// receipts cannot be read, the error wraps kv.ErrDenied: a hidden receipt is not an absent one.
func (r *Reader) Roster(ctx context.Context, since uint64, wait time.Duration) (Roster, error) {
	if r.Hub != nil {
		return r.fromHub(ctx, since, wait)
	}
	dir := r.Layout.NodesDir()
	all, err := r.Store.List(ctx, kv.Default, dir, since, wait)
	if errors.Is(err, kv.ErrTooLarge) {
		return Roster{}, fmt.Errorf("%w: the receipts below %s have more than %d MiB; `kvexpress forget NODE` removes a "+
			"decommissioned node, and another --prefix makes another fleet", kv.ErrRequest, dir, kv.MaxListing>>20)
	} else if err != nil {
		return Roster{}, err
	}
	readable := !all.Filtered
	if readable && (r.known == nil || len(all.Rows) == 0) {
		if readable, err = kv.MayRead(ctx, r.Store, dir); err != nil {
			return Roster{}, err
		}
	}
	if !readable {
		return Roster{}, fmt.Errorf("the receipts below %s: the token cannot read all of them: %w", dir, kv.ErrDenied)
	}
	roster := r.roster(all)
	roster.ClockOffset = kv.ClockOffset(r.Store)
	return roster, nil
}

// roster decodes the receipts that changed.
func (r *Reader) roster(all kv.Listing) Roster {
	dir := r.Layout.NodesDir()
	roster := Roster{Read: time.Now(), Index: all.Index, Nodes: make([]Node, len(all.Rows))}
	for i, row := range all.Rows {
		node, ok := r.known[row.Path]
		if !ok || node.Index != row.Index {
			node = Node{Name: strings.TrimPrefix(row.Path, dir), Index: row.Index, Err: errNotRead}
		}
		roster.Nodes[i] = node
	}
	readAll(roster.Nodes, all.Rows)
	r.known = make(map[string]Node, len(all.Rows))
	for i, row := range all.Rows {
		r.known[row.Path] = roster.Nodes[i]
	}
	return roster
}

// errNotRead is a receipt that is not decoded yet.
var errNotRead = errors.New("not read")

// readAll decodes the receipts that are not known yet, the smallest first: if all together are too
// large, the largest ones are left out.
func readAll(nodes []Node, rows []kv.Row) {
	sizes, order := make([]int, len(nodes)), make([]int, len(nodes))
	for i := range nodes {
		sizes[i], order[i] = decodedSize(rows[i].Entry), i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(sizes[a], sizes[b]) })
	var used atomic.Int64
	parallel(len(order), func(n int) {
		node, row, size := &nodes[order[n]], rows[order[n]], int64(sizes[order[n]])
		if errors.Is(node.Err, errNotRead) || errors.Is(node.Err, ErrLeftOut) {
			if used.Load()+size > MaxDecoded {
				node.Err = ErrLeftOut
				return
			}
			node.Receipt, node.Err = readOne(node, row, int(size))
			node.size = size + int64(len(node.Receipt.Targets))*targetSize
		}
		if used.Add(node.size) > MaxDecoded {
			used.Add(-node.size)
			node.Receipt, node.Err = Receipt{}, ErrLeftOut
		}
	})
}

func readOne(node *Node, row kv.Row, size int) (Receipt, error) {
	if n := len(node.Name); n > kv.MaxNodeLen {
		node.Name = safetext.Cut(node.Name, kv.MaxNodeLen)
		return Receipt{}, fmt.Errorf("%w: its name has %d bytes, at most %d are allowed", ErrReceipt, n, kv.MaxNodeLen)
	}
	return parseReceipt(node.Name, row.Value, row.Flags, size)
}

// parallel calls do for 0 to n-1, on all processors: decoding and examining receipts is most of
// the time of a status of a large fleet.
func parallel(n int, do func(int)) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), n) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				do(i)
			}
		})
	}
	wg.Wait()
}
