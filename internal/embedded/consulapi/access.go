package consulapi

import (
	"errors"
	"fmt"
	"strings"
)

// ACL says what tokens may do.
type ACL interface {
	// Resolve returns what a token may do; the empty one is that of requests without a token. It
	// is asked once for each request, before its body is read. ErrUnknownToken: there is no such token.
	Resolve(token string) (Authorizer, error)
}

// ErrUnknownToken is Consul's answer to a token that does not exist.
var ErrUnknownToken = errors.New("ACL not found")

// Authorizer is what one token may do. It is safe for concurrent use, and asked for each row.
type Authorizer interface {
	AccessorID() string      // names the token in errors; empty for that of requests without one
	KeyRead(key string) bool // a list leaves out what it denies, as in a Consul without enable_key_list_policy
	KeyWrite(key string) bool
	KeyWritePrefix(prefix string) bool
}

// grant is an Authorizer, or none, which allows all.
type grant struct{ auth Authorizer }

// admit resolves the token of a request.
func (h *Handler) admit(r *request) (grant, error) {
	if h.o.ACL == nil {
		return grant{}, nil
	}
	auth, err := h.o.ACL.Resolve(tokenOf(r))
	if err != nil {
		return grant{}, err
	}
	return grant{auth}, nil
}

// anonymous reports whether the request has shown no token: such are not told that rows were left out.
func (g grant) anonymous() bool { return g.auth != nil && g.auth.AccessorID() == "" }

func (g grant) reads(key string) bool { return g.auth == nil || g.auth.KeyRead(key) }

func (g grant) keyRead(key string) error { return g.check(g.reads(key), "key:read", key) }
func (g grant) keyWrite(key string) error {
	return g.check(g.auth == nil || g.auth.KeyWrite(key), "key:write", key)
}
func (g grant) keyWriteAll(p string) error {
	return g.check(g.auth == nil || g.auth.KeyWritePrefix(p), "key:write", p)
}

func (g grant) check(allowed bool, permission, name string) error {
	if allowed {
		return nil
	}
	return &denial{accessor: g.auth.AccessorID(), permission: permission, name: name}
}

// denial is an error in Consul's words. The accessor's id is no secret.
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

// tokenOf is the token that a request shows, or empty.
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
