package hub

import (
	"context"
	"errors"
	"net/url"
	"strconv"
	"time"

	"kvexpress/internal/fleet"
	"kvexpress/internal/kv"
	"kvexpress/internal/wait"
	"kvexpress/internal/wire"
)

// peerLimit limits one question to another hub, beyond its wait.
const peerLimit = 30 * time.Second

// follow takes the receipts of another hub's agents as they change, until ctx ends. While the hub cannot be reached, the store
// has what it wrote.
func (a *agents) follow(ctx context.Context, peer wire.Client) {
	var since uint64
	var last time.Time // of an answer
	for failures := 0; ; {
		p, err := ask(ctx, peer, url.Values{"own": {"1"}}, since, maxPageWait)
		if ctx.Err() != nil {
			return
		}
		pause := time.Duration(0)
		if err != nil {
			pause = wait.Backoff{Least: time.Second, Most: 30 * time.Second}.After(failures)
			if failures++; failures == 1 {
				a.log.Warn("cannot reach the peer; its receipts come through the store, later", "peer", peer.Addr, "error", oneLine(err))
			}
			a.table.Gone(peer.Addr, last)
			since = 0
		} else {
			if failures > 0 {
				a.log.Info("the peer answers again", "peer", peer.Addr)
			}
			failures, since, last = 0, p.Index, time.Now()
			a.table.Take(peer.Addr, p)
		}
		if wait.For(ctx, pause) != nil {
			return
		}
	}
}

// ask asks a hub for the receipts that changed after since.
func ask(ctx context.Context, hub wire.Client, query url.Values, since uint64, wait time.Duration) (fleet.Page, error) {
	ctx, cancel := context.WithTimeout(ctx, wait+peerLimit)
	defer cancel()
	query.Set("since", strconv.FormatUint(since, 10))
	query.Set("wait", strconv.FormatInt(wait.Milliseconds(), 10))
	b, err := hub.Get(ctx, wire.ReceiptsPath, query, fleet.MaxPage)
	if err != nil {
		return fleet.Page{}, err
	}
	return fleet.ParsePage(b)
}

// Pages asks hubs about receipts: the one that answered last, else the next one. It implements fleet.Hub, and is not safe for
// concurrent use.
type Pages struct {
	Hubs []wire.Client // at least one

	current int
	fresh   bool // the current hub has answered
}

// Page implements fleet.Hub. The error wraps kv.ErrUnreachable if no hub could be asked, or kv.ErrDenied.
func (p *Pages) Page(ctx context.Context, since uint64, wait time.Duration) (fleet.Page, error) {
	if !p.fresh {
		since = 0 // an index is of one hub
	}
	var errs []error
	for range p.Hubs {
		hub := p.Hubs[p.current]
		page, err := ask(ctx, hub, url.Values{}, since, min(wait, maxPageWait))
		switch {
		case err == nil:
			page.Full = page.Full || since == 0
			p.fresh = true
			return page, nil
		case ctx.Err() != nil:
			return page, context.Cause(ctx)
		case errors.Is(err, wire.ErrForbidden):
			return page, &kv.StoreError{Op: "read the receipts", Addr: "the hub " + hub.Addr, Kind: kv.ErrDenied, Cause: err}
		}
		errs = append(errs, err)
		p.current, p.fresh, since = (p.current+1)%len(p.Hubs), false, 0
	}
	return fleet.Page{}, &kv.StoreError{Op: "read the receipts", Addr: "the hub", Kind: kv.ErrUnreachable,
		Cause: errors.Join(errs...), Remedy: "without --hub (and KVEXPRESS_HUB), the receipts in the store are read"}
}
