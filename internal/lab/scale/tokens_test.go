//go:build linux

package scale

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/consultest"
)

// When no token can be made, one says why, and not a thousand. Taken out: that the first
// failure ends it; then each node has its own.
func TestTokensFailOnce(t *testing.T) {
	server := consultest.Start(t, consultest.WithACL())
	s := &site{Options: Options{Servers: []Server{{Addr: server.Addr}}, Token: server.ManagementToken, Program: build(t), Limit: time.Minute}}
	for i := range 5 * atOnce {
		s.nodes = append(s.nodes, &node{name: fmt.Sprintf("no name for a policy %d", i)})
	}
	_, err := s.tokens(t.Context())
	if err == nil || strings.Count(err.Error(), "create the policy") != 1 {
		t.Errorf("it says %v", err)
	}
}
