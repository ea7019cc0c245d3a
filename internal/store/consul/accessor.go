package consul

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"
)

// selfLimit is how long the question for the token may take, and maxSelf the most bytes of its answer.
const (
	selfLimit = 2 * time.Second
	maxSelf   = 256 << 10
)

// Accessor is the public id of the token that is used; "" without a token, and where the
// store does not tell.
func (s *Store) Accessor(ctx context.Context) string {
	secret := s.header.Get("X-Consul-Token")
	if secret == "" {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, selfLimit)
	defer cancel()
	var self struct{ AccessorID string }
	status, answer, f := s.ask(ctx, http.MethodGet, "/v1/acl/token/self", nil, nil, maxSelf)
	if f != nil || status != http.StatusOK || json.Unmarshal(answer, &self) != nil {
		return ""
	}
	id := self.AccessorID
	if len(id) != 36 || strings.Trim(id, "0123456789abcdef-") != "" || id == secret {
		return ""
	}
	return id
}
