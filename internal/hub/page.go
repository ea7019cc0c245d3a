package hub

import (
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"kvexpress/internal/fleet"
	"kvexpress/internal/httpd"
	"kvexpress/internal/kv"
	"kvexpress/internal/wire"
)

// maxPageWait is how long a client may wait for a change of receipts.
const maxPageWait = 20 * time.Second

// maxSeen is how many keys a hub notes versions of.
const maxSeen = 20_000

// page answers about receipts, to callers whose token may read those of all nodes.
func (a *agents) page(w http.ResponseWriter, r *http.Request) {
	w.Header().Set(wire.Header, wire.Protocol)
	if r.Method != http.MethodGet {
		httpd.Text(w, http.StatusMethodNotAllowed, "only GET is allowed")
		return
	}
	if err := a.may(r, a.layout.NodesDir()+".probe", false, "read the receipts below "+a.layout.NodesDir()); err != nil {
		httpd.Text(w, http.StatusForbidden, oneLine(err))
		return
	}
	since, err := strconv.ParseUint(cmp.Or(r.FormValue("since"), "0"), 10, 64)
	ms, bad := strconv.ParseUint(cmp.Or(r.FormValue("wait"), "0"), 10, 31)
	if err != nil || bad != nil {
		httpd.Text(w, http.StatusBadRequest, "since and wait must be numbers")
		return
	}
	p, err := a.pageOf(r.Context(), since, min(time.Duration(ms)*time.Millisecond, maxPageWait), r.FormValue("own") != "")
	if err != nil {
		httpd.Text(w, http.StatusServiceUnavailable, oneLine(err))
		return
	}
	a.withhold(r.Context(), r, p.Rows)
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(p) // it fails if the client has disconnected
}

func tokenOf(r *http.Request) string {
	token := r.Header.Get("X-Consul-Token")
	if bearer, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok && token == "" {
		return bearer
	}
	return token
}

// withhold removes the outputs of keys that the caller's token may not read. If that cannot be checked, or others could read the
// answer on its way, it removes all.
func (a *agents) withhold(ctx context.Context, r *http.Request, rows []fleet.PageRow) {
	paths := map[string]string{} // by key
	for _, row := range rows {
		for _, o := range row.Outputs {
			if k, err := kv.ParseKey(o.Key); err == nil {
				paths[o.Key] = a.layout.Data(k)
			}
		}
	}
	readable := map[string]bool{}
	for some := range slices.Chunk(slices.Sorted(maps.Values(paths)), kv.MaxOps) {
		denied, err := a.rights.Denied(ctx, tokenOf(r), some, nil)
		for _, path := range some {
			readable[path] = err == nil && a.private(r) && !slices.Contains(denied, path)
		}
	}
	for i := range rows {
		rows[i].Outputs = slices.DeleteFunc(rows[i].Outputs, func(o fleet.Output) bool { return !readable[paths[o.Key]] })
	}
}

// seen is when this hub saw the live versions, but for those that were live when it first read them.
type seen struct {
	mu   sync.Mutex
	keys map[kv.Key]fleet.SeenVersion
}

func (s *seen) note(k kv.Key, sha256 string, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	last, ok := s.keys[k]
	switch {
	case s.keys == nil:
		s.keys = map[kv.Key]fleet.SeenVersion{}
		fallthrough
	case !ok && len(s.keys) < maxSeen:
		s.keys[k] = fleet.SeenVersion{SHA256: sha256}
	case ok && last.SHA256 != sha256:
		s.keys[k] = fleet.SeenVersion{SHA256: sha256, At: at}
	}
}

// all are the versions whose publish was seen.
func (s *seen) all() map[kv.Key]fleet.SeenVersion {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := maps.Clone(s.keys)
	maps.DeleteFunc(all, func(_ kv.Key, v fleet.SeenVersion) bool { return v.At.IsZero() })
	return all
}
