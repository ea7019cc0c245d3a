package fleet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"kvexpress/internal/gate"
	"kvexpress/internal/kv"
	"kvexpress/internal/record"
	"kvexpress/internal/safetext"
)

// ErrLeftOut is a receipt that was not read because all of them have more than MaxDecoded
// bytes.
var ErrLeftOut = fmt.Errorf("left out: all receipts together have more than %d MiB", MaxDecoded>>20)

// Node is a node's receipt, as it was read.
type Node struct {
	Name    string
	Receipt Receipt
	Err     error  // why it cannot be used; nil if it can
	Index   uint64 // its place in the order of the store's writes

	size int64 // in memory; of one that was left out: at least
}

// Host is the operating system's host name of the node.
func (n Node) Host() string { return cmp.Or(n.Receipt.Host, n.Name) }

// On are the nodes that go by a name, or whose host does.
func (r Roster) On(name string) []Node {
	var on []Node
	for _, n := range r.Nodes {
		if n.Err == nil && (n.Name == name || n.Host() == name) {
			on = append(on, n)
		}
	}
	return on
}

// Roster is all receipts of one moment.
type Roster struct {
	Nodes []Node    // sorted by name
	Read  time.Time // when the answer came, by our own clock
	// ClockOffset is by how many milliseconds that clock is ahead of the store's; nil: it
	// is not known.
	ClockOffset *int64
	Index       uint64 // what to wait for the next change with
}

// Reader reads receipts, again and again perhaps: of what did not change, nothing is
// done anew. It is not safe for concurrent use.
type Reader struct {
	Store  kv.Store
	Layout kv.Layout

	known map[string]Node // by path; nil: there was no look yet
}

// Roster reads all receipts. With since, it waits for a change first, and for wait at
// most. The error wraps kv.ErrDenied if some of them may not be read: what may be
// missing is never counted as absent.
func (r *Reader) Roster(ctx context.Context, since uint64, wait time.Duration) (Roster, error) {
	dir := r.Layout.NodesDir()
	all, err := r.Store.List(ctx, kv.Default, dir, since, wait)
	switch {
	case errors.Is(err, kv.ErrTooLarge):
		return Roster{},
			fmt.Errorf("%w: the receipts below %s have more than %d MiB in all; `kvexpress forget` drops those of machines that are "+
				"no more, and another --prefix makes another fleet",
				kv.ErrRequest, dir, kv.MaxListing>>20)
	case err != nil:
		return Roster{}, err
	}
	if all.Filtered {
		return Roster{}, r.denied()
	}
	if r.known == nil || len(all.Rows) == 0 {
		if may, err := kv.MayRead(ctx, r.Store, dir); err != nil {
			return Roster{}, err
		} else if !may {
			return Roster{}, r.denied()
		}
	}
	roster := Roster{Read: time.Now(), ClockOffset: kv.ClockOffset(r.Store), Index: all.Index, Nodes: make([]Node, 0, len(all.Rows))}
	for _, row := range all.Rows {
		node, ok := r.known[row.Path]
		if !ok || node.Index != row.Index {
			node = Node{Name: strings.TrimPrefix(row.Path, dir), Index: row.Index, Err: errUnread}
		}
		roster.Nodes = append(roster.Nodes, node)
	}
	readAll(roster.Nodes, all.Rows)
	r.known = make(map[string]Node, len(all.Rows))
	for i, row := range all.Rows {
		r.known[row.Path] = roster.Nodes[i]
	}
	return roster, nil
}

// errUnread is a receipt that is yet to be read.
var errUnread = errors.New("not read")

// readAll reads the receipts of rows that are not known yet, the small ones first: those that
// decode to a lot leave out themselves, and no others.
func readAll(nodes []Node, rows []kv.Row) {
	var used atomic.Int64
	waiting := make([]int, len(nodes))
	for i := range waiting {
		waiting[i] = i
	}
	const least, step = 64 << 10, 4
	for most := int64(least); len(waiting) > 0; most *= step {
		larger := make([]bool, len(waiting))
		sharedOut(len(waiting), 64, func(n int) {
			node, row := &nodes[waiting[n]], rows[waiting[n]]
			fresh := errors.Is(node.Err, errUnread) || errors.Is(node.Err, ErrLeftOut)
			switch {
			case node.size > most:
				larger[n] = true
				return
			case fresh && most > least && used.Load()+most/step > MaxDecoded: // for which there is surely no room
				node.Receipt, node.Err, node.size = Receipt{}, ErrLeftOut, most/step
				return
			case fresh:
				node.Receipt, node.size, node.Err = readOne(node, row, min(most, maxPlain))
				if larger[n] = most < maxPlain && errors.Is(node.Err, record.ErrTooBig); larger[n] {
					node.Err = errUnread
					return
				}
			}
			if used.Add(node.size) > MaxDecoded {
				used.Add(-node.size)
				node.Receipt, node.Err = Receipt{}, ErrLeftOut
			}
		})
		var next []int
		for n, is := range larger {
			if is {
				next = append(next, waiting[n])
			}
		}
		waiting = next
	}
}

func readOne(node *Node, row kv.Row, most int64) (Receipt, int64, error) {
	if n := len(node.Name); n > kv.MaxNodeLen {
		node.Name = safetext.Cut(node.Name, kv.MaxNodeLen)
		return Receipt{}, 0, fmt.Errorf("%w: its name has %d bytes, at most %d are allowed", ErrReceipt, n, kv.MaxNodeLen)
	}
	return parseReceipt(node.Name, row.Value, row.Flags, int(most))
}

// sharedOut does n pieces of work on all processors, each of which takes so many at once:
// to read receipts and to examine them is most of what a look at a large fleet takes.
func sharedOut(n, atOnce int, do func(int)) {
	var next atomic.Int64
	work := func() {
		for {
			end := int(next.Add(int64(atOnce)))
			if end-atOnce >= n {
				return
			}
			for i := end - atOnce; i < min(n, end); i++ {
				do(i)
			}
		}
	}
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), (n+atOnce-1)/atOnce) - 1 {
		wg.Go(work)
	}
	work()
	wg.Wait()
}

// Count is how many nodes have a receipt, as far as we may see; 0 if that cannot be
// found out.
func Count(ctx context.Context, s kv.Store, l kv.Layout) int {
	paths, err := s.Keys(ctx, l.NodesDir())
	if err != nil {
		return 0
	}
	return len(paths)
}

func (r *Reader) denied() error {
	return fmt.Errorf("the receipts below %s: not all of them may be read: %w", r.Layout.NodesDir(), kv.ErrDenied)
}

// Standing is what a key holds in the store, without its bytes.
type Standing struct {
	Key      kv.Key
	Exists   bool
	SHA256   string       // what the checksum says; "" if nothing that could be relied on
	Manifest *kv.Manifest // nil unless it speaks of these bytes
	Index    uint64       // of the manifest, or else the checksum, in the order of the store's writes
	Stop     kv.Entry     // the row that freezes it
	// Past are the versions before, the newest first: see Standings.
	Past []Past
	// Err is why nothing is known of this key, though the store answered: it may not
	// be read, or a later kvexpress wrote it.
	Err error
}

// Past is when an earlier version was published, by the store's clock within the tolerance.
type Past struct {
	Version uint64
	At      time.Time
}

// Stopped reports whether the key is frozen in the whole fleet.
func (s Standing) Stopped() bool {
	return s.Stop.State == kv.Present && gate.NotStopped(s.Key, s.Stop) != nil
}

// Standings reads what several keys hold. Read the roster before: what nodes say they
// have can only be older then than what the store is asked for afterwards. Past versions are
// read where an `out` of the roster has missed one. The error is
// the store's; see Standing.Err for that of one key.
func (r *Reader) Standings(ctx context.Context, roster Roster, keys ...kv.Key) ([]Standing, error) {
	const rows = 3
	all := make([]Standing, 0, len(keys))
	for len(keys) > 0 {
		some := keys[:min(len(keys), kv.MaxOps/rows)]
		keys = keys[len(some):]
		var paths []string
		for _, k := range some {
			paths = append(paths, r.Layout.Checksum(k), r.Layout.Manifest(k), r.Layout.Stop(k))
		}
		found, err := r.Store.Read(ctx, kv.Default, paths...)
		if err != nil {
			return nil, err
		}
		for i, k := range some {
			all = append(all, standing(k, found[paths[rows*i]], found[paths[rows*i+1]], found[paths[rows*i+2]]))
		}
	}
	late := roster.late()
	for i := range all {
		if m := all[i].Manifest; m != nil && late[all[i].Key]+1 < m.Version && late[all[i].Key] > 0 {
			if err := r.past(ctx, &all[i]); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

// late is the oldest version that an `out` has reported, by key.
func (r Roster) late() map[kv.Key]uint64 {
	oldest := map[kv.Key]uint64{}
	for _, n := range r.Nodes {
		for _, t := range n.Receipt.Targets {
			if k := kv.Key(t.Key); t.By == ByOut && t.Version > 0 && (oldest[k] == 0 || t.Version < oldest[k]) {
				oldest[k] = t.Version
			}
		}
	}
	return oldest
}

// past reads when the versions before were published, of those that are kept.
func (r *Reader) past(ctx context.Context, s *Standing) error {
	var paths []string
	for n := s.Manifest.Version - 1; n > 0 && len(paths) < keptVersions; n-- {
		paths = append(paths, r.Layout.HistoryManifest(s.Key, n))
	}
	rows, err := r.Store.Read(ctx, kv.Default, paths...)
	if err != nil {
		return err
	}
	for _, path := range paths {
		m, err := kv.ParseManifest(rows[path].Value)
		if err == nil && m.Lineage == s.Manifest.Lineage && m.Version < s.Manifest.Version {
			s.Past = append(s.Past, Past{m.Version, byStore(m.PublishedAt, m.ClockOffset)})
		}
	}
	return nil
}

// keptVersions is how many versions before the current one are kept, at most.
const keptVersions = 10

func standing(k kv.Key, checksum, manifest, stop kv.Entry) Standing {
	s := Standing{Key: k, Exists: checksum.State == kv.Present, Stop: stop, Index: manifest.Index}
	if s.Err = gate.Readable(k, checksum, manifest, stop); s.Err == nil {
		s.SHA256, s.Manifest, s.Err = record.Claimed(k, checksum, manifest)
		if s.Manifest == nil {
			s.Index = checksum.Index
		}
	}
	return s
}

// Damage verifies the data of the live version of a key. why is "" if it is whole or absent; size
// is how many bytes were read. Unless once is set, it waits for a writer of kvexpress 1.x that may be about
// to complete it. The error wraps kv.ErrDenied if the data cannot be read.
func (r *Reader) Damage(ctx context.Context, k kv.Key, once bool) (why string, size int, err error) {
	live, _, err := record.Read(ctx, r.Store, r.Layout, k, record.Query{Once: once, Accept: func(rows kv.Snapshot) error {
		size += len(rows[r.Layout.Data(k)].Value)
		return nil
	}})
	return live.Why, size, err
}
