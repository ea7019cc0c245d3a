package doctor

import (
	"context"
	"fmt"
	"time"

	"kvexpress/internal/agent"
	"kvexpress/internal/fleet"
	"kvexpress/internal/wire"
)

// OfHub checks that a hub would serve this node: it says hello without targets, and leaves. That does not count as contact.
func OfHub(addr string, dial func(context.Context, string) (wire.Conn, error), hello func() (wire.Hello, error)) Check {
	return Check{Name: HubCheck, About: addr, Run: func(ctx context.Context) []Finding {
		h, err := hello()
		if err != nil {
			return []Finding{found(Failure, "%v", err)}
		}
		conn, err := dial(ctx, addr)
		if err != nil {
			return []Finding{found(Failure, "%v", err)}
		}
		defer func() { _ = conn.Close() }() // nothing is lost
		w, err := welcome(ctx, conn, h)
		if err != nil {
			return []Finding{found(Failure, "%v", err)}
		}
		return append(ofWelcome(w, h.Version), ofClock("hub", addr, func() (time.Duration, bool) { return wire.Offset(conn) }))
	}}
}

// OfPeer checks that another hub tells this one its receipts.
func OfPeer(addr string, peer fleet.Hub) Check {
	return Check{Name: HubCheck, About: addr, Run: func(ctx context.Context) []Finding {
		p, err := peer.Page(ctx, 0, 0)
		if err != nil {
			return []Finding{found(Failure, "%v", err)}
		}
		return []Finding{found(OK, "the peer tells its receipts: %d", len(p.Rows))}
	}}
}

// welcome says hello, and reads until the answer.
func welcome(ctx context.Context, conn wire.Conn, h wire.Hello) (*wire.Welcome, error) {
	h.Probe, h.Targets = true, []wire.Target{}
	message, err := wire.Encode(wire.FromAgent{Hello: &h})
	if err == nil {
		err = conn.Write(ctx, message)
	}
	for err == nil {
		var b []byte
		var m wire.FromHub
		if b, err = conn.Read(ctx); err == nil {
			m, err = wire.DecodeFromHub(b)
		}
		switch {
		case err != nil:
		case m.Refused != nil:
			return nil, fmt.Errorf("it refuses this node (%s): %s", m.Refused.Reason, m.Refused.Says)
		case m.Welcome != nil:
			return m.Welcome, nil
		}
	}
	return nil, fmt.Errorf("it does not answer the hello: %w; read its log", err)
}

func ofWelcome(w *wire.Welcome, version string) []Finding {
	age := time.Duration(w.Age) * time.Millisecond
	all := []Finding{found(OK, "%s, kvexpress %s, accepts this node; it read the store %s ago", w.Hub, w.Version,
		age.Round(time.Millisecond))}
	if age > agent.StaleAfter {
		all[0] = found(Failure, "it last read the store %s ago; its /readyz and its log say why", age.Round(time.Second))
	}
	if w.NoReceipts != "" {
		all = append(all, Finding{Check: "rights", Result: Failure, Says: "the hub takes no receipts of this node: " + w.NoReceipts})
	}
	if w.Version != version {
		all = append(all, Finding{Check: "version", Result: Warning,
			Says: fmt.Sprintf("the hub runs kvexpress %s, and this is %s; upgrade the older one", w.Version, version)})
	}
	return all
}
