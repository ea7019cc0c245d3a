package receipts

import (
	"context"
	"fmt"
	"time"

	"kvexpress/internal/kv"
	"kvexpress/internal/safetext"
	"kvexpress/internal/wait"
)

const (
	// The store's receipts are read again after minGap, and a second more for each perSecond of them.
	minGap    = 2 * time.Second
	perSecond = 1000
	// readLimit limits one read beyond its wait.
	readLimit = 30 * time.Second
)

// Sync reads the receipts in the store when they change, until ctx ends: those that `out`s, agents without a hub and other hubs
// have written.
func (t *Table) Sync(ctx context.Context) {
	var since uint64
	for failures := 0; ; {
		all, err := t.read(ctx, since)
		pause := minGap + time.Duration(len(all.Rows))*time.Second/perSecond
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			since = 0
			pause = wait.Backoff{Least: time.Second, Most: 30 * time.Second}.After(failures)
			if failures++; failures == 1 {
				t.o.Log.Warn("cannot read the receipts in the store", "error", safetext.Joined(err.Error(), 0))
			}
		default:
			if failures > 0 {
				t.o.Log.Info("the receipts in the store are read again")
			}
			failures = 0
			if since = all.Index; len(all.Rows) == 0 {
				since = 0 // a wait on a folder without rows ends at any write to the store
			}
			t.take(all)
		}
		if wait.For(ctx, pause) != nil {
			return
		}
	}
}

func (t *Table) read(ctx context.Context, since uint64) (kv.Listing, error) {
	ctx, cancel := context.WithTimeout(ctx, kv.MaxWait+readLimit)
	defer cancel()
	dir := t.o.Layout.NodesDir()
	all, err := t.o.Store.List(ctx, kv.Default, dir, since, kv.MaxWait)
	if err != nil {
		return all, err
	}
	may, err := kv.MayRead(ctx, t.o.Store, dir)
	if err == nil && (!may || all.Filtered) {
		err = fmt.Errorf("the receipts below %s: the hub's token cannot read all of them: %w; `kvexpress acl hub` prints the policy "+
			"that it needs", dir, kv.ErrDenied)
	}
	return all, err
}

// take takes all rows of the store.
func (t *Table) take(all kv.Listing) {
	t.mu.Lock()
	defer t.mu.Unlock()
	there := make(map[string]bool, len(all.Rows))
	for _, row := range all.Rows {
		node, err := kv.ParseNode(row.Path[len(t.o.Layout.NodesDir()):])
		if err != nil {
			continue // no agent has such a name
		}
		there[node] = true
		t.merge(row)
	}
	for node, r := range t.rows {
		if !there[node] && r.index != 0 {
			t.merge(kv.Row{Path: t.o.Layout.Node(node), Entry: kv.Entry{State: kv.Absent}})
			if r.live > 0 && !r.removed {
				t.write(r) // `forget` of a node that is there
			}
		}
	}
	t.trim()
	if !t.begun {
		t.begun = true
		t.seq++
		close(t.changed)
		t.changed = make(chan struct{})
	}
}
