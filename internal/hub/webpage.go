package hub

import (
	"context"
	"net/http"

	"kvexpress/internal/hub/web"
	"kvexpress/internal/kv"
	"kvexpress/internal/rollout"
)

// newWeb makes the web page. Who may read receipts may see it.
func (h *Hub) newWeb() *web.Web {
	o := h.o.Metrics
	return web.New(web.Options{
		Store: o.Store, Layout: o.Layout, Receipts: h.agents, Rights: h.agents.rights, Expiry: o.Expiry, Hub: h.o.Host,
		Version: o.Version, Secure: h.agents.secure, Log: h.o.Log, Token: tokenOf, Private: h.agents.private,
		Rollout: func(ctx context.Context, k kv.Key, outputs bool) (rollout.View, error) {
			return h.agents.rolls.View(ctx, k, 0, 0, outputs)
		},
		MayRead: func(r *http.Request) error {
			return h.agents.may(r, o.Layout.NodesDir()+".probe", false, "read the receipts below "+o.Layout.NodesDir())
		},
	})
}
