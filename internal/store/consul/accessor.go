package consul

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"
)

// selfLimit limits the time of the request for the token, and maxSelf its answer, in bytes.
const (
	selfLimit = 2 * time.Second
	maxSelf   = 256 << 10
)

// Accessor returns the accessor id of the token in use. It is "" without a token, and if Consul does not tell.
func (s *Store) Accessor(ctx context.Context) string {
	secret := s.token.current()
	if secret == "" {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, selfLimit)
	defer cancel()
	var self struct{ AccessorID string }
	status, answer, f := s.ask(ctx, request{method: http.MethodGet, path: "/v1/acl/token/self"}, maxSelf)
	if f != nil || status != http.StatusOK || json.Unmarshal(answer, &self) != nil {
		return ""
	}
	id := self.AccessorID
	if len(id) != 36 || strings.Trim(id, "0123456789abcdef-") != "" || id == secret {
		return ""
	}
	return id
}
