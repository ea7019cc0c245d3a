package consulhttp

import (
	"encoding/json"
	"net/http"
	"strings"

	"kvexpress/internal/store/local"
)

// sessionInfo answers GET /v1/session/info/.
func (h *Handler) sessionInfo(w http.ResponseWriter, r *request) error {
	return h.sessions(w, r, func() (choice, error) {
		id, err := sessionID(r, "/v1/session/info/")
		return choice{id: id}, err
	})
}

// sessionNode answers GET /v1/session/node/.
func (h *Handler) sessionNode(w http.ResponseWriter, r *request) error {
	return h.sessions(w, r, func() (choice, error) {
		node := strings.TrimPrefix(r.URL.Path, "/v1/session/node/")
		if node == "" {
			return choice{}, status(http.StatusBadRequest, "Missing node name")
		}
		return choice{node: node}, nil
	})
}

// sessionList answers GET /v1/session/list.
func (h *Handler) sessionList(w http.ResponseWriter, r *request) error {
	return h.sessions(w, r, func() (choice, error) { return choice{}, nil })
}

// choice is which sessions are asked for: one, those of a node, or all.
type choice struct{ id, node string }

// sessions answers a read of sessions.
func (h *Handler) sessions(w http.ResponseWriter, r *request, choose func() (choice, error)) error {
	o, ok := parseOptions(w, r)
	if !ok {
		return nil
	}
	if err := free(r); err != nil {
		return err
	}
	c, err := choose()
	if err != nil {
		return err
	}
	g, err := h.enter(r)
	if err != nil {
		setMeta(w, 0, false, false) // Consul tells so much even then
		return err
	}
	pretty := r.has("pretty")
	return h.serveQuery(w, r, query{
		topic: local.SessionsTopic(), minIndex: o.index, wait: o.wait,
		ask: func(v local.View) answer { return h.answerSessions(pretty, g, c, v) },
	})
}

func (h *Handler) answerSessions(pretty bool, g grant, c choice, v local.View) answer {
	bodies, filtered := []sessionBody{}, false
	add := func(s *local.Session) {
		switch {
		case g.readsSession(s.Node):
			bodies = append(bodies, toBody(s))
		default:
			filtered = !g.anonymous()
		}
	}
	found := true
	if c.id != "" {
		session := v.Session(c.id)
		if found = session != nil; found {
			add(session)
		}
	} else {
		for session := range v.Sessions() {
			if c.node == "" || strings.EqualFold(c.node, session.Node) {
				add(session)
			}
		}
	}
	index := max(v.SessionIndex(), 1)
	return answer{index: index, found: found, write: func(w http.ResponseWriter, zip bool) {
		setMeta(w, index, true, filtered)
		b, err := json.Marshal(bodies)
		if err != nil {
			fail(w, err)
			return
		}
		h.sendBytes(w, zip, pretty, http.StatusOK, jsonText, b)
	}}
}
