package agent_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/agent"
	"kvexpress/internal/install"
	"kvexpress/internal/outcome"
	"kvexpress/internal/store/consul"
	"kvexpress/internal/testutil/consultest"
)

// rights are those of a node, in Consul's HCL.
func (n *node) rights() string {
	return fmt.Sprintf("key_prefix %q { policy = \"read\" } key_prefix %q { policy = \"read\" }", n.layout.Dir("hosts"),
		n.layout.LocksDir())
}

// locked is a node of a store with ACLs, whose agent has a token in a file.
func newDeniable(t *testing.T, server *consultest.Server, rights func(*node) string) (n *node, token string) {
	t.Helper()
	n = newNode(t, server.Addr, install.Target{Key: "hosts"})
	n.change = hasty
	store, err := consul.New(consul.Options{Addr: server.Addr, Token: server.ManagementToken})
	if err != nil {
		t.Fatal(err)
	}
	n.store = store
	token = server.NewToken(t, rights(n))
	n.write("token", token)
	n.config.Store.TokenFile = n.path("token")
	return n, token
}

func TestDenied(t *testing.T) {
	t.Parallel()
	server := consultest.Start(t, consultest.WithACL())
	all := (*node).rights

	beside(t, "rights that are given later", func(t *testing.T) {
		n, token := newDeniable(t, server, func(*node) string { return `key_prefix "other/" { policy = "read" }` })
		n.publish("hosts", "one\n")
		n.write("hosts", "from before\n")
		n.config.Reconcile = 100 * time.Millisecond // beside the watch, which is denied as well
		n.start()
		s := n.state(0, outcome.Denied)
		if s.Detail == "" || s.Counts.Refusals["denied"] == 0 || n.file("hosts") != "from before\n" {
			t.Errorf("%+v", s)
		}
		n.well()
		n.reconciles(0, 6)
		if lines := strings.Count(n.log.String(), "msg=failed") + strings.Count(n.log.String(), `msg="failed`); lines != 1 {
			t.Errorf("one denial is in the log %d times", lines)
		}
		if s := n.agent.Status().Store; !s.Up {
			t.Errorf("a denial is an answer: %+v", s)
		}
		allow(t, server, token, n.rights())
		n.current(0, "one\n")
	})

	beside(t, "another token in the same file", func(t *testing.T) {
		n, _ := newDeniable(t, server, func(*node) string { return `key_prefix "other/" { policy = "read" }` })
		// Without an event, it would retry only after hours.
		n.change = func(o *agent.Options) { agent.Paced(o, time.Hour, 3*time.Hour) }
		n.publish("hosts", "one\n")
		n.start()
		n.state(0, outcome.Denied)
		n.write("token", server.NewToken(t, n.rights()))
		if err := n.agent.Reload(n.config); err != nil {
			t.Fatal(err)
		}
		n.current(0, "one\n")
		n.publish("hosts", "two\n")
		n.current(0, "two\n")
	})

	beside(t, "a token that is revoked while its watch waits", func(t *testing.T) {
		n, token := newDeniable(t, server, all)
		n.begin("one\n")
		server.RevokeToken(t, token)
		n.publish("hosts", "two\n")
		n.state(0, outcome.Denied)
		if got := n.file("hosts"); got != "one\n" {
			t.Errorf("the file holds %q", got)
		}
		n.well()
		n.write("token", server.NewToken(t, n.rights()))
		if err := n.agent.Reload(n.config); err != nil {
			t.Fatal(err)
		}
		n.current(0, "two\n")
	})

	// A lock that cannot be read does not count as absent.
	beside(t, "no right to read the locks", func(t *testing.T) {
		n, token := newDeniable(t, server, func(n *node) string {
			return fmt.Sprintf("key_prefix %q { policy = \"read\" }", n.layout.Dir("hosts"))
		})
		n.publish("hosts", "one\n")
		n.start()
		n.state(0, outcome.Denied)
		n.publish("hosts", "two\n")
		n.reconciles(0, 2)
		if s := n.state(0, outcome.Denied); n.file("hosts") != "" || s.Counts.Installs != 0 {
			t.Errorf("%+v", s)
		}
		allow(t, server, token, n.rights())
		n.current(0, "two\n")
	})
}

// allow gives a token other rights.
func allow(t *testing.T, server *consultest.Server, token, rules string) {
	t.Helper()
	_, body, err := server.Request(http.MethodGet, "/v1/acl/token/self", token, nil)
	var of struct{ Policies []struct{ ID, Name string } }
	if err == nil {
		err = json.Unmarshal(body, &of)
	}
	if err != nil || len(of.Policies) != 1 {
		t.Fatalf("look up a token: %s, %v", body, err)
	}
	policy, err := json.Marshal(map[string]string{"Name": of.Policies[0].Name, "Rules": rules})
	if err != nil {
		t.Fatal(err)
	}
	status, body, err := server.Request(http.MethodPut, "/v1/acl/policy/"+of.Policies[0].ID, server.ManagementToken, policy)
	if err != nil || status != http.StatusOK {
		t.Fatalf("change a policy: %d, %s, %v", status, body, err)
	}
}
