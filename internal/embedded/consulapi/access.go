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
	g.secret = &secret
	holder := g.holder()
	if holder == nil {
		return grant{}, errUnknownToken
	}
	g.name = holder.name
	return g, nil
}

func (g grant) holder() *holder {
	tokens := g.acl.Tokens()
	if g.secret == nil {
		return tokens.anonymous
	}
	return tokens.bySecret[*g.secret]
}

// anonymous reports whether tokens are required and the request has none. Consul does not tell such clients that rows were left
// out.
func (g grant) anonymous() bool { return g.acl != nil && g.secret == nil }

func (g grant) allowed(by func(*rules) bool) bool {
	if g.acl == nil {
		return true
	}
	holder := g.holder()
	return holder != nil && by(holder.rules)
}

func (g grant) reads(key string) bool { return g.allowed(func(r *rules) bool { return r.reads(key) }) }

func (g grant) keyRead(key string) error { return g.check(g.reads(key), "key:read", key) }
func (g grant) keyWrite(key string) error {
	return g.check(g.allowed(func(r *rules) bool { return r.writes(key) }), "key:write", key)
}
func (g grant) keyWriteAll(prefix string) error {
	return g.check(g.allowed(func(r *rules) bool { return r.writesAll(prefix) }), "key:write", prefix)
}

func (g grant) check(allowed bool, permission, name string) error {
	if allowed {
		return nil
	}
	return &denial{accessor: g.name, permission: permission, name: name}
}

// denial is an error in Consul's words. The accessor id is not secret.
type denial struct{ accessor, permission, name string }

func (d *denial) Error() string {
	who, end := "anonymous token", ". The anonymous token is used implicitly when a request does not specify a token."
	if d.accessor != "" {
		who, end = "token with AccessorID '"+d.accessor+"'", ""
	}
	on := ""
	if d.name != "" {
		on = fmt.Sprintf(" on %q", d.name)
	}
	return "Permission denied: " + who + " lacks permission '" + d.permission + "'" + on + end
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
