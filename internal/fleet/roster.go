package fleet

import (
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
	"kvexpress/internal/safetext"
)

// Node is a node's receipt, as it was read.
type Node struct {
	Name    string
	Receipt Receipt
	Err     error  // why it cannot be used; nil if it can
	Index   uint64 // its place in the order of the store's writes
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
	var fresh []int
	for i, row := range all.Rows {
		node, ok := r.known[row.Path]
		if !ok || node.Index != row.Index {
			node = Node{Name: strings.TrimPrefix(row.Path, dir), Index: row.Index}
			fresh = append(fresh, i)
		}
		roster.Nodes = append(roster.Nodes, node)
	}
	sharedOut(len(fresh), 64, func(n int) {
		node, row := &roster.Nodes[fresh[n]], all.Rows[fresh[n]]
		if len(node.Name) > kv.MaxNodeLen {
			node.Err = fmt.Errorf("%w: its name has %d bytes, at most %d are allowed", ErrReceipt, len(node.Name), kv.MaxNodeLen)
			node.Name = safetext.Cut(node.Name, kv.MaxNodeLen)
			return
		}
		node.Receipt, node.Err = ParseReceipt(node.Name, row.Value, row.Flags)
	})
	r.known = make(map[string]Node, len(all.Rows))
	for i, row := range all.Rows {
		r.known[row.Path] = roster.Nodes[i]
	}
	return roster, nil
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
	// Err is why nothing is known of this key, though the store answered: it may not
	// be read, or a later kvexpress wrote it.
	Err error
}

// Stopped reports whether the key is frozen in the whole fleet.
func (s Standing) Stopped() bool { return gate.NotStopped(s.Key, s.Stop) != nil }

// Standings reads what several keys hold. Read receipts before: what nodes say they
// have can only be older then than what the store is asked for afterwards. The error is
// the store's; see Standing.Err for that of one key.
func (r *Reader) Standings(ctx context.Context, keys ...kv.Key) ([]Standing, error) {
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
	return all, nil
}

func standing(k kv.Key, checksum, manifest, stop kv.Entry) Standing {
	s := Standing{Key: k, Exists: checksum.State == kv.Present, Stop: stop, Index: manifest.Index}
	if s.Err = gate.Readable(k, checksum, manifest, stop); s.Err == nil {
		s.SHA256, s.Manifest, s.Err = gate.Claimed(k, checksum, manifest)
		if s.Manifest == nil {
			s.Index = checksum.Index
		}
	}
	return s
}
