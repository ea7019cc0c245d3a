package hub

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"

	"kvexpress/internal/hub/web"
	"kvexpress/internal/kv"
	"kvexpress/internal/rollout"
)

// newWeb makes the web page. Who may read receipts may see it.
func (h *Hub) newWeb() *web.Web {
	o := h.o.Metrics
	return web.New(web.Options{
		Store: o.Store, Layout: o.Layout, Receipts: h.agents, Rights: h.agents.rights, Expiry: o.Expiry, Hub: h.o.Host,
		Version: o.Version, Secure: h.agents.secure, Log: h.o.Log, Token: tokenOf, As: o.Store.As, Private: h.agents.private,
		MayAct: h.mayAct,
		Rollout: func(ctx context.Context, k kv.Key, outputs bool) (rollout.View, error) {
			return h.agents.rolls.View(ctx, k, 0, 0, outputs)
		},
		MayRead: func(r *http.Request) error {
			return h.agents.may(r, o.Layout.NodesDir()+".probe", false, "read the receipts below "+o.Layout.NodesDir())
		},
	})
}

// aclsFor is how long a hub knows whether the store has ACLs, and aclsLimit limits the question.
const (
	aclsFor   = 30 * time.Second
	aclsLimit = 2 * time.Second
)

// mayAct refuses actions on the page to callers whose token the store would not check: without ACLs only this machine, and who
// has a certificate, may act.
func (h *Hub) mayAct(r *http.Request) error {
	if !h.agents.private(r) {
		return errors.New("a browser on another machine acts over TLS only; give the hub --tls-cert and --tls-key")
	}
	on, err := h.acls.on(r.Context(), h.o.Metrics.Store)
	switch {
	case err != nil:
		return err
	case on && tokenOf(r) == "":
		return errors.New("give a token first: it decides what you may do")
	case !on && h.o.Files.ClientCA == "" && (!fromHere(r) || forwarded(r)):
		return errors.New("the store has no ACLs, so only a browser on the hub's machine may act, or one with a certificate " +
			"(--tls-client-ca)")
	}
	return nil
}

// acls remembers for a short time whether the store has ACLs; while the store is unreachable, for longer.
type acls struct {
	mu sync.Mutex
	is bool
	at time.Time
}

func (a *acls) on(ctx context.Context, s kv.Permissions) (bool, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.at.IsZero() && time.Since(a.at) < aclsFor {
		return a.is, nil
	}
	ctx, cancel := context.WithTimeout(ctx, aclsLimit)
	defer cancel()
	is, err := kv.ACLs(ctx, s)
	switch {
	case err == nil:
		a.is = is
	case a.at.IsZero():
		return false, err
	}
	a.at = time.Now()
	return a.is, nil
}

// forwarded reports whether a proxy sent the request: its caller may be anywhere.
func forwarded(r *http.Request) bool {
	return r.Header.Get("Forwarded")+r.Header.Get("X-Forwarded-For")+r.Header.Get("Via")+r.Header.Get("X-Real-Ip") != ""
}

// fromHere reports whether the caller is on this machine.
func fromHere(r *http.Request) bool {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	return err != nil || net.ParseIP(host).IsLoopback() // a socket has no host
}
