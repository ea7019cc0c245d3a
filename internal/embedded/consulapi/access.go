package consulapi

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"strings"
)

// grant is what the token of one request may do. Each question is answered by the current tokens: a request that waits ten
// minutes must not see at its end what its token lost meanwhile.
type grant struct {
	acl    *ACL               // nil: everything is allowed
	secret *[sha256.Size]byte // nil: the request has no token
	name   string             // of the token
}

// grant resolves the token of a request; "" and "anonymous" are a request without one, as in Consul. a may be nil.
func (a *ACL) grant(token string) (grant, error) {
	g := grant{acl: a}
	if a == nil || token == "" || token == "anonymous" {
		return g, nil
	}
	secret := sha256.Sum256([]byte(token))
	holder := a.Tokens().bySecret[secret]
	if holder == nil {
		return g, errUnknownToken
	}
	g.secret, g.name = &secret, holder.name
	return g, nil
}

// rules are the current rules of the token; none if it was removed.
func (g grant) rules() rules {
	tokens := g.acl.Tokens()
	holder := tokens.anonymous
	if g.secret != nil {
		holder = tokens.bySecret[*g.secret]
	}
	if holder == nil {
		return nil
	}
	return holder.rules
}

// anonymous reports whether tokens are required and the request has none. Consul does not tell such clients that rows were left
// out.
func (g grant) anonymous() bool { return g.acl != nil && g.secret == nil }

func (g grant) reads(key string) bool { return g.acl == nil || g.rules().reads(key) }

func (g grant) keyRead(key string) error { return g.check(g.reads(key), "key:read", key) }

func (g grant) keyWrite(key string) error {
	return g.check(g.acl == nil || g.rules().writes(key), "key:write", key)
}

func (g grant) keyWriteAll(prefix string) error {
	return g.check(g.acl == nil || g.rules().writesAll(prefix), "key:write", prefix)
}

// check returns an error in Consul's words. The accessor id in it is not secret.
func (g grant) check(allowed bool, permission, name string) error {
	if allowed {
		return nil
	}
	who, end := "anonymous token", ". The anonymous token is used implicitly when a request does not specify a token."
	if g.name != "" {
		who, end = "token with AccessorID '"+g.name+"'", ""
	}
	return status(http.StatusForbidden,
		fmt.Sprintf("Permission denied: %s lacks permission '%s' on %q%s", who, permission, name, end))
}

// MayRead checks that the token in the headers of a request may read the paths. a may be nil: then everything is allowed. The
// error is in Consul's words.
func (a *ACL) MayRead(r *http.Request, paths ...string) error {
	g, err := a.grant(tokenOf(&request{Request: r}))
	for _, path := range paths {
		if err == nil {
			err = g.keyRead(path)
		}
	}
	return err
}

// Denies returns a rule for embedded.Store.Denied: which rows a token may not read or write; ok is false for an unknown token. a
// may be nil: then everything is allowed.
func (a *ACL) Denies(token string) (deny func(path string, write bool) bool, ok bool) {
	g, err := a.grant(token)
	return func(path string, write bool) bool {
		if write {
			return g.keyWrite(path) != nil
		}
		return !g.reads(path)
	}, err == nil
}

// tokenOf returns the token of a request; "" without one.
func tokenOf(r *request) string {
	if token := r.params.Get("token"); token != "" {
		return token
	}
	if token := r.Header.Get("X-Consul-Token"); token != "" {
		return token
	}
	scheme, rest, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "bearer") {
		return ""
	}
	token, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	return strings.TrimSpace(token)
}
