package consul

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"
)

// tellLimit limits the time of a request for something that Consul need not tell, and maxTold its answer, in bytes.
const (
	tellLimit = 2 * time.Second
	maxTold   = 1 << 20
)

// Accessor returns the accessor id of the token in use. It is "" without a token, and if Consul does not tell.
func (s *Store) Accessor(ctx context.Context) string {
	secret := s.token.current()
	if secret == "" {
		return ""
	}
	var self struct{ AccessorID string }
	s.tell(ctx, "/v1/acl/token/self", &self)
	id := self.AccessorID
	if len(id) != 36 || strings.Trim(id, "0123456789abcdef-") != "" || id == secret {
		return ""
	}
	return id
}

// Version returns the version of Consul, such as "1.22.5". It is "" if Consul does not tell: that takes the right agent:read.
func (s *Store) Version(ctx context.Context) string {
	var self struct{ Config struct{ Version string } }
	s.tell(ctx, "/v1/agent/self", &self)
	if v := self.Config.Version; len(v) < 32 && strings.Trim(v, "0123456789.-+abcdefghijklmnopqrstuvwxyz") == "" {
		return v
	}
	return ""
}

// tell decodes an answer; without one, into stays as it is.
func (s *Store) tell(ctx context.Context, path string, into any) {
	ctx, cancel := context.WithTimeout(ctx, tellLimit)
	defer cancel()
	status, answer, f := s.ask(ctx, request{method: http.MethodGet, path: path}, maxTold)
	if f == nil && status == http.StatusOK {
		_ = json.Unmarshal(answer, into) // it is told, or not
	}
}
