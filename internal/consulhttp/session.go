package consulhttp

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"kvexpress/internal/store/local"
)

const (
	minTTL       = 10 * time.Second
	maxTTL       = 24 * time.Hour
	maxSession   = 64 << 10     // bytes of a description
	nodeCheck    = "serfHealth" // the one check that a node has
	defaultDelay = 15 * time.Second
)

// sessionBody is a session in JSON, as Consul writes and reads it.
type sessionBody struct {
	ID            string
	Name          string
	Node          string
	LockDelay     time.Duration
	Behavior      sessionBehavior
	TTL           string
	NodeChecks    []string
	ServiceChecks []local.ServiceCheck
	Checks        []checkID `json:",omitempty"` // the old name of NodeChecks
	raftIndex
}

// These have types of their own since what Consul says of a mistake names its types: see consulsTypes.
type (
	sessionBehavior string
	checkID         string
	raftIndex       struct{ CreateIndex, ModifyIndex uint64 }
)

// consulsTypes puts Consul's names of types in the place of ours.
func consulsTypes(text string) string {
	return strings.NewReplacer(
		"consulhttp.sessionBehavior", "structs.SessionBehavior", "consulhttp.checkID", "types.CheckID", ".raftIndex.", ".RaftIndex.",
		"consulhttp.sessionBody", "structs.Session", "consulhttp.", "structs.", "local.ServiceCheck", "structs.ServiceCheck",
	).Replace(text)
}

// UnmarshalJSON takes a lock delay as text, in nanoseconds, or, below 1000, in seconds.
func (s *sessionBody) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		return nil // nothing is described
	}
	type Alias sessionBody // its name is part of what Consul says of a mistake
	body := &struct {
		LockDelay any
		*Alias
	}{Alias: (*Alias)(s)}
	if err := json.Unmarshal(data, &body); err != nil {
		return err
	}
	var delay time.Duration
	switch given := body.LockDelay.(type) {
	case nil:
		return nil
	case string:
		var err error
		if delay, err = time.ParseDuration(given); err != nil {
			return err
		}
	case float64:
		delay = time.Duration(given)
	}
	if delay < 1000 {
		delay *= 1e9
	}
	s.LockDelay = delay
	return nil
}

// toBody is how a session is shown.
func toBody(s *local.Session) sessionBody {
	return sessionBody{
		ID: s.ID, Name: s.Name, Node: s.Node, LockDelay: s.LockDelay, Behavior: sessionBehavior(s.Behavior), TTL: s.TTL,
		NodeChecks: s.NodeChecks, ServiceChecks: s.ServiceChecks, raftIndex: raftIndex{s.CreateIndex, s.ModifyIndex},
	}
}

// sessionCreate answers PUT /v1/session/create.
func (h *Handler) sessionCreate(w http.ResponseWriter, r *request) error {
	if err := free(r); err != nil {
		return err
	}
	body := sessionBody{
		Node: h.o.NodeName, NodeChecks: []string{nodeCheck}, Checks: []checkID{nodeCheck},
		LockDelay: defaultDelay, Behavior: local.Release,
	}
	switch {
	case r.ContentLength > maxSession:
		return status(http.StatusRequestEntityTooLarge, fmt.Sprintf("Request body(%d bytes) too large, max size: %d bytes.", r.ContentLength, maxSession))
	case r.ContentLength > 0:
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			return status(http.StatusBadRequest, "Request decode failed: "+consulsTypes(err.Error()))
		}
	}
	body.settleChecks()
	if err := h.here(r); err != nil {
		return err
	}
	if body.Node == "" {
		return fmt.Errorf("Must provide Node")
	}
	g, err := h.admit(r)
	if err != nil {
		return err
	}
	if err := g.sessionWrite(body.Node); err != nil {
		return err
	}
	if err := h.soundSession(&body); err != nil {
		return err
	}
	id, err := h.engine.CreateSession(r.Context(), local.Session{
		Name: body.Name, Node: body.Node, LockDelay: body.LockDelay, Behavior: string(body.Behavior), TTL: body.TTL,
		NodeChecks: body.NodeChecks, ServiceChecks: body.ServiceChecks,
	})
	if err != nil {
		return applyFailed("apply failed: ", err)
	}
	return h.sendJSON(w, r, struct{ ID string }{id})
}

// settleChecks makes one of the two lists of checks that a description may have.
func (s *sessionBody) settleChecks() {
	switch {
	case len(s.Checks) == 0:
		s.NodeChecks = []string{}
	case len(s.Checks) == 1 && s.Checks[0] == nodeCheck: // as it was before the description
	case len(s.NodeChecks) == 0:
	default:
		var checks []string
		for _, check := range s.Checks {
			checks = append(checks, string(check))
		}
		s.NodeChecks = append(checks, s.NodeChecks...)
	}
	s.Checks = nil
}

// soundSession refuses what Consul would, with the one node and the one check that there are.
func (h *Handler) soundSession(s *sessionBody) error {
	switch s.Behavior {
	case "", local.Release, local.DeleteRows:
	default:
		return fmt.Errorf("Invalid Behavior setting '%s'", s.Behavior)
	}
	if s.TTL != "" {
		ttl, err := time.ParseDuration(s.TTL)
		if err != nil {
			return fmt.Errorf("Session TTL '%s' invalid: %w", s.TTL, err)
		}
		if ttl != 0 && (ttl < minTTL || ttl > maxTTL) {
			return fmt.Errorf("Invalid Session TTL '%d', must be between [%v=%v]", ttl, minTTL, maxTTL)
		}
	}
	if !strings.EqualFold(s.Node, h.o.NodeName) {
		return fmt.Errorf("apply failed: Missing node registration")
	}
	for _, check := range s.NodeChecks {
		if err := soundCheck(check); err != nil {
			return err
		}
	}
	for _, check := range s.ServiceChecks {
		if err := soundCheck(check.ID); err != nil {
			return err
		}
	}
	return nil
}

// soundCheck refuses a check that the node does not have.
func soundCheck(id string) error {
	switch {
	case id == "":
		return errors.New("apply failed: failed check lookup: index error: object is missing a value for this index")
	case !strings.EqualFold(id, nodeCheck):
		return fmt.Errorf("apply failed: Missing check '%s' registration", id)
	}
	return nil
}

// sessionID is the last part of the path.
func sessionID(r *request, prefix string) (string, error) {
	id := strings.TrimPrefix(r.URL.Path, prefix)
	if id == "" {
		return "", status(http.StatusBadRequest, "Missing session")
	}
	return id, nil
}

// ownSession is the session that a request changes, and whether it is there; its error, that the request may not.
func (h *Handler) ownSession(r *request, prefix string) (id string, found bool, err error) {
	if err := free(r); err != nil {
		return "", false, err
	}
	if id, err = sessionID(r, prefix); err != nil {
		return "", false, err
	}
	g, err := h.enter(r)
	if err != nil {
		return "", false, err
	}
	session := h.engine.View().Session(id)
	if session == nil {
		return id, false, nil
	}
	return id, true, g.sessionWrite(session.Node)
}

// sessionDestroy answers PUT /v1/session/destroy/. One that is not there is destroyed.
func (h *Handler) sessionDestroy(w http.ResponseWriter, r *request) error {
	id, found, err := h.ownSession(r, "/v1/session/destroy/")
	if err != nil {
		return err
	}
	if found {
		if err := h.engine.DestroySession(r.Context(), id); err != nil {
			return applyFailed("apply failed: ", err)
		}
	}
	return h.sendJSON(w, r, true)
}

// sessionRenew answers PUT /v1/session/renew/.
func (h *Handler) sessionRenew(w http.ResponseWriter, r *request) error {
	if _, ok := parseOptions(w, r); !ok {
		return nil
	}
	id, found, err := h.ownSession(r, "/v1/session/renew/")
	if err != nil {
		return err
	}
	if found {
		if session := h.engine.RenewSession(id); session != nil {
			return h.sendJSON(w, r, []sessionBody{toBody(session)})
		}
	}
	return status(http.StatusNotFound, fmt.Sprintf("Session id '%s' not found", id))
}
