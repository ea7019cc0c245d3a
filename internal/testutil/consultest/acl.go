package consultest

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"testing"
)

// NewToken returns the secret of a new token that may do what the policy, in
// Consul's HCL, allows. The agent needs WithACL and must be a server. It knows
// the token when NewToken returns; other servers of a cluster may be a moment
// behind.
func (s *Server) NewToken(t testing.TB, policyHCL string) string {
	t.Helper()
	name := "consultest-" + newUUID()
	policy := map[string]any{"Name": name, "Rules": policyHCL}
	if err := s.manage(http.MethodPut, "/v1/acl/policy", policy, nil); err != nil {
		t.Fatalf("create a policy: %v", err)
	}
	var token struct{ SecretID string }
	request := map[string]any{"Policies": []any{map[string]any{"Name": name}}}
	if err := s.manage(http.MethodPut, "/v1/acl/token", request, &token); err != nil {
		t.Fatalf("create a token: %v", err)
	}
	err := s.poll("know the new token", func() error {
		_, err := s.expect(http.MethodGet, "/v1/acl/token/self", token.SecretID, nil)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return token.SecretID
}

// RevokeToken deletes a token, given its secret.
func (s *Server) RevokeToken(t testing.TB, secret string) {
	t.Helper()
	answer, err := s.expect(http.MethodGet, "/v1/acl/token/self", secret, nil)
	if err != nil {
		t.Fatalf("look up a token: %v", err)
	}
	var token struct{ AccessorID string }
	if err := json.Unmarshal(answer, &token); err != nil {
		t.Fatalf("look up a token: %v", err)
	}
	if err := s.manage(http.MethodDelete, "/v1/acl/token/"+token.AccessorID, nil, nil); err != nil {
		t.Fatalf("delete a token: %v", err)
	}
}

// manage sends in as JSON with the management token, and decodes the answer
// into out unless that is nil.
func (s *Server) manage(method, path string, in, out any) error {
	if s.ManagementToken == "" {
		return errors.New("this Consul was started without WithACL")
	}
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	answer, err := s.expect(method, path, s.ManagementToken, body)
	if err != nil || out == nil {
		return err
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("the answer of %s: %w", path, err)
	}
	return nil
}
