package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"kvexpress/internal/fleet"
	"kvexpress/internal/kv"
	"kvexpress/internal/safetext"
	"kvexpress/internal/wire"
)

// gather is how long a node collects news for a hub.
const gather = 50 * time.Millisecond

// tell wakes the reporter: the receipt goes elsewhere now, or was not taken.
func (h *hubSource) tell() {
	select {
	case h.news <- struct{}{}:
	default: // it is awake
	}
}

// reportsTo is the session that takes receipts; nil and waiting if none does now, but one may soon; nil if the store takes them.
func (h *hubSource) reportsTo() (s *session, waiting bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.session != nil && h.session.receipts:
		return h.session, false
	case h.session != nil: // a hub without receipts
		return nil, false
	}
	return nil, !h.onStore
}

// declines is why the hub does not take receipts of this node; "" if it does.
func (s *session) declines() string {
	if s == nil {
		return ""
	}
	s.source.mu.Lock()
	defer s.source.mu.Unlock()
	return s.noReceipt
}

// report sends a receipt to the hub. That the hub does not take receipts of this node is an error, too.
func (s *session) report(ctx context.Context, p fleet.Part) error {
	if why := s.declines(); why != "" {
		return &kv.StoreError{Op: "report", Addr: "the hub " + s.addr, Kind: kv.ErrDenied, Says: oneLine(safetext.Redact(why))}
	}
	b, err := json.Marshal(p)
	if err == nil && len(b) > wire.MaxReceipt {
		p.Outputs = nil
		b, err = json.Marshal(p)
	}
	for err == nil && len(b) > wire.MaxReceipt && len(p.Targets) > 0 {
		p.Targets = p.Targets[:len(p.Targets)*3/4]
		b, err = json.Marshal(p)
	}
	if err != nil {
		return fmt.Errorf("encode the receipt: %w", err)
	}
	return s.send(ctx, wire.FromAgent{Receipt: b})
}
