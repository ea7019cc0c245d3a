package hosts

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"kvexpress/lab/proc"
)

// hubPort is kvexpress' own default.
const hubPort = 8610

// Hub is a `kvexpress hub` beside a server. Loopback needs no TLS.
type Hub struct {
	Addr string
	Unit *proc.Unit
}

// prepareHubs makes one beside each of the first servers. They are each other's peers.
func (f *Fleet) prepareHubs() {
	for i := range f.Options.Hubs {
		f.Hubs = append(f.Hubs, &Hub{Addr: f.net.hostPort(firstServer+i, hubPort)})
	}
	for i, h := range f.Hubs {
		argv := []string{f.Tools.Kvexpress, "hub", "-s", f.Servers[i].Addr, "--token-file", f.TokenFile(HubRole), "--listen", h.Addr}
		var peers []string
		for _, other := range f.Hubs {
			if other != h {
				peers = append(peers, other.Addr)
			}
		}
		if len(peers) > 0 {
			argv = append(argv, "--peers", strings.Join(peers, ","))
		}
		name := "hub-" + strconv.Itoa(i+1)
		h.Unit = f.unit(name, f.hostNamed(name, argv...)...)
	}
}

// HubAddrs are the addresses of the hubs; none without.
func (f *Fleet) HubAddrs() (addrs []string) {
	for _, h := range f.Hubs {
		addrs = append(addrs, h.Addr)
	}
	return addrs
}

// startHubs runs the hubs until they are ready.
func (f *Fleet) startHubs(ctx context.Context) error {
	return proc.Each(f.Hubs, func(h *Hub) error {
		return errors.Join(h.Unit.Start(), proc.Poll(ctx, "the hub on "+h.Addr, func() error {
			return errors.Join(h.Unit.Alive(), f.call(ctx, h.Addr, "", http.MethodGet, "/readyz", nil, nil))
		}))
	})
}
