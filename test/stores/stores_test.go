package stores

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"testing"
	"time"

	"kvexpress/internal/embedded"
	"kvexpress/internal/embedded/consulapi"
	"kvexpress/internal/httpd"
	"kvexpress/internal/kv"
	"kvexpress/internal/store/consul"
	"kvexpress/internal/store/retry"
	"kvexpress/internal/testutil/consultest"
)

func TestMemory(t *testing.T) {
	suite(t, func(*testing.T) kv.Store { return embedded.New() })
	withoutACLs(t, embedded.New())
}

func TestRetry(t *testing.T) {
	suite(t, func(*testing.T) kv.Store { return retry.New(embedded.New(), retry.Policy{For: time.Second}) })
}

// The client that talks to Consul must not notice a difference.
func TestEmbeddedAPI(t *testing.T) {
	s, _ := serve(t, nil, "")
	suite(t, func(*testing.T) kv.Store { return s })
	withoutACLs(t, s)
}

func TestConsul(t *testing.T) {
	server := consultest.Start(t)
	s := client(t, server.Addr, "")
	suite(t, func(*testing.T) kv.Store { return s })
	t.Run("WithoutACLs", func(t *testing.T) { withoutACLs(t, s) })
}

// Tokens mean the same to a client of the API and to the process itself.
func TestEmbeddedPermissions(t *testing.T) {
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
			api, engine := serve(t, acl, root)
			var store guarded = api
			if over == "process" {
				store = engine.Store(embedded.Tokens(acl.Denies))
			}
			permissions(t, store, func(policy string) string {
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

// The Consul agent's default token is not a right of callers without a token.
func TestConsulPermissions(t *testing.T) {
	server := consultest.Start(t, consultest.WithACL())
	s := client(t, server.Addr, server.ManagementToken)
	if _, _, err := server.Request(http.MethodPut, "/v1/agent/token/default", server.ManagementToken,
		[]byte(`{"Token": "`+server.ManagementToken+`"}`)); err != nil {
		t.Fatal(err)
	}
	if rows, err := client(t, server.Addr, "").Read(t.Context(), kv.Default, "a"); err != nil || rows["a"].State != kv.Absent {
		t.Fatalf("the default token is not in force: %+v %v", rows, err)
	}
	permissions(t, s, func(policy string) string { return server.NewToken(t, policy) },
		func(token string) { server.RevokeToken(t, token) })
}

// client is a client of Consul's API, without the environment of the tests.
func client(t *testing.T, addr, token string) *consul.Store {
	t.Helper()
	s, err := consul.New(consul.Options{Addr: addr, Token: token, Bare: true})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// serve serves an embedded store, and returns a client of it.
func serve(t *testing.T, acl *consulapi.ACL, token string) (*consul.Store, *embedded.Engine) {
	t.Helper()
	engine, err := embedded.Open(embedded.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- httpd.Serve(ctx, ln, consulapi.New(consulapi.Options{Engine: engine, ACL: acl}),
			httpd.Options{Request: time.Minute, Answer: consulapi.AnswerTime})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return client(t, ln.Addr().String(), token), engine
}
