package consulapi_test

import (
	"fmt"
	"testing"

	"kvexpress/internal/embedded"
	"kvexpress/internal/embedded/consulapi"
	"kvexpress/internal/httpd"
	"kvexpress/internal/kv"
	"kvexpress/internal/store/consul"
	"kvexpress/internal/testutil/storetest"
)

// The client that talks to Consul must not notice a difference.
func TestConformance(t *testing.T) {
	addr, _ := serve(t, consulapi.Options{}, httpd.Options{})
	s := open(t, consul.Options{Addr: addr})
	storetest.Run(t, func(*testing.T) kv.Store { return s })
	storetest.RunWithoutACLs(t, s)
}

// Tokens mean the same to a client of the API and to the process itself.
func TestPermissions(t *testing.T) {
	const root = "root-root-root-root"
	for _, over := range []string{"API", "process"} {
		t.Run(over, func(t *testing.T) {
			policies := map[string]string{root: `key_prefix "" { policy = "write" }`}
			acl := consulapi.NewACL(nil)
			apply := func() {
				text := ""
				for token, policy := range policies {
					text += fmt.Sprintf("token %q {\n name = %q\n%s\n}\n", token, token[:12], policy)
				}
				tokens, err := consulapi.ParseTokens([]byte(text))
				if err != nil {
					t.Fatal(err)
				}
				acl.Swap(tokens)
			}
			apply()
			addr, engine := serve(t, consulapi.Options{ACL: acl}, httpd.Options{})
			var store interface {
				kv.Store
				kv.Permissions
			} = open(t, consul.Options{Addr: addr, Token: root})
			if over == "process" {
				store = engine.Store(embedded.Tokens(acl.Denies))
			}
			storetest.RunPermissions(t, store, func(policy string) string {
				token := kv.NewID()
				policies[token] = policy
				apply()
				return token
			}, func(token string) {
				delete(policies, token)
				apply()
			})
		})
	}
}
