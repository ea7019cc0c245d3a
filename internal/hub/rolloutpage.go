package hub

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"time"

	"kvexpress/internal/httpd"
	"kvexpress/internal/hub/fanout"
	"kvexpress/internal/hub/rollouts"
	"kvexpress/internal/kv"
	"kvexpress/internal/rollout"
	"kvexpress/internal/wire"
)

// rollout answers about the rollout of a key, to callers whose token may read the key, and to the controllers at other hubs.
func (a *agents) rollout(w http.ResponseWriter, r *http.Request) {
	w.Header().Set(wire.Header, wire.Protocol)
	if r.URL.Path == rollouts.PeerPath {
		a.peer(w, r)
		return
	}
	k, err := kv.ParseKey(r.FormValue("key"))
	since, bad := strconv.ParseUint(cmp.Or(r.FormValue("since"), "0"), 10, 64)
	ms, worse := strconv.ParseUint(cmp.Or(r.FormValue("wait"), "0"), 10, 31)
	switch {
	case r.Method != http.MethodGet:
		httpd.Text(w, http.StatusMethodNotAllowed, "only GET is allowed")
		return
	case err != nil || bad != nil || worse != nil:
		httpd.Text(w, http.StatusBadRequest, "key must be the name of a key; since and wait must be numbers")
		return
	}
	if err := a.may(r, a.layout.Data(k), false, "read the key "+string(k)); err != nil {
		httpd.Text(w, http.StatusForbidden, oneLine(err))
		return
	}
	var v any
	if r.URL.Path == rollout.PreviewPath {
		v, err = a.rolls.Preview(r.Context(), k)
	} else {
		v, err = a.rolls.View(r.Context(), k, since, min(time.Duration(ms)*time.Millisecond, maxPageWait), a.private(r))
	}
	if err != nil {
		httpd.Text(w, http.StatusServiceUnavailable, oneLine(err))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // it fails if the client has disconnected
}

// peer answers a controller: its token may write rollouts.
func (a *agents) peer(w http.ResponseWriter, r *http.Request) {
	switch err := a.may(r, a.layout.RolloutsDir()+".probe", true, "write rollouts below "+a.layout.RolloutsDir()); {
	case r.Method != http.MethodPost:
		httpd.Text(w, http.StatusMethodNotAllowed, "only POST is allowed")
	case !a.private(r):
		httpd.Text(w, http.StatusForbidden, "hubs of other machines need TLS; give the hub --tls-cert and --tls-key")
	case err != nil:
		httpd.Text(w, http.StatusForbidden, oneLine(err))
	default:
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, rollouts.MaxPeerBody))
		if err == nil {
			body, err = a.rolls.Answer(r.Context(), body)
		}
		if err != nil {
			httpd.Text(w, http.StatusBadRequest, oneLine(err))
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body) // it fails if the client has disconnected
	}
}

// RolloutPeers are the other hubs, for the rollouts that this hub controls.
func RolloutPeers(hubs []wire.Client) (all []rollouts.Peer) {
	for _, hub := range hubs {
		all = append(all, rollouts.Peer{Addr: hub.Addr, Post: func(ctx context.Context, body []byte) ([]byte, error) {
			return hub.Post(ctx, rollouts.PeerPath, body, rollouts.MaxPeerBody)
		}})
	}
	return all
}

// may checks whether the token of a request may read a row, or write it. what says so for people.
func (a *agents) may(r *http.Request, path string, write bool, what string) error {
	reads, writes := []string{path}, []string(nil)
	if write {
		reads, writes = nil, reads
	}
	denied, err := a.rights.Denied(r.Context(), tokenOf(r), reads, writes)
	switch refused := (*fanout.Refusal)(nil); {
	case errors.As(err, &refused):
		return refused
	case errors.Is(err, kv.ErrDenied):
		return errors.New("the store does not know this token; set a valid one with --token-file or CONSUL_HTTP_TOKEN")
	case err != nil:
		return err
	case slices.Contains(denied, path):
		return errors.New("the token may not " + what + "; `kvexpress acl operator` prints the policy that it needs")
	}
	return nil
}
