package consulapi

import (
	"crypto/sha256"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"unicode"
)

// minSecret is the minimum length of a secret, in bytes. A UUID, as in Consul, has 36.
const minSecret = 16

// Tokens are the content of a token file. They are immutable.
type Tokens struct {
	bySecret  map[[sha256.Size]byte]*holder // hashed, so that the time of a look-up reveals nothing
	anonymous *holder
	ignored   []string
}

// holder is a token without its secret.
type holder struct {
	name  string // "" for requests without a token
	rules *rules
}

// Len is the number of tokens.
func (t *Tokens) Len() int { return len(t.bySecret) }

// Anonymous reports whether requests without a token have rules.
func (t *Tokens) Anonymous() bool { return t.anonymous != nil }

// Ignored lists the kinds of Consul's rules in the file that have no effect here, sorted.
func (t *Tokens) Ignored() []string { return t.ignored }

// ParseTokens reads a token file:
//
//	token "SECRET" {
//	  name = "publisher"
//	  key_prefix "kvexpress/hosts/" { policy = "write" }
//	}
//	anonymous {
//	  key_prefix "public/" { policy = "read" }
//	}
//
// Errors contain line numbers, and no text of the file: it could be a secret.
func ParseTokens(src []byte) (*Tokens, error) {
	v, err := parseHCL(src)
	if err != nil {
		return nil, err
	}
	t := &Tokens{bySecret: map[[sha256.Size]byte]*holder{}}
	ignored, names := map[string]bool{}, map[string]bool{}
	for _, e := range v.entries {
		switch {
		case e.name == "anonymous" && e.text == nil:
			if t.anonymous != nil {
				return nil, mistake(e.line, "anonymous occurs twice")
			}
			if t.anonymous, err = readHolder(e, ignored, false); err != nil {
				return nil, err
			}
		case e.name == "token" && e.text == nil:
			for _, token := range e.entries {
				if err := t.add(token, names, ignored); err != nil {
					return nil, err
				}
			}
		default:
			return nil, mistake(e.line,
				`a token file contains only token "SECRET" { name = "NAME" … } and anonymous { … }`)
		}
	}
	t.ignored = slices.Sorted(maps.Keys(ignored))
	return t, nil
}

func (t *Tokens) add(e entry, names, ignored map[string]bool) error {
	switch {
	case e.text != nil:
		return mistake(e.line, `the secret is missing: write token "SECRET" { … }`)
	case len(e.name) < minSecret:
		return mistake(e.line, "the secret is shorter than %d bytes and could be guessed; create one with `uuidgen`", minSecret)
	case strings.ContainsFunc(e.name, func(r rune) bool { return r <= ' ' || r > '~' }):
		return mistake(e.line, "the secret has characters that no header can carry; create one with `uuidgen`")
	}
	h, err := readHolder(e, ignored, true)
	if err != nil {
		return err
	}
	if names[h.name] {
		return mistake(e.line, "another token has the same name")
	}
	secret := sha256.Sum256([]byte(e.name))
	if t.bySecret[secret] != nil {
		return mistake(e.line, "another token has the same secret")
	}
	names[h.name], t.bySecret[secret] = true, h
	return nil
}

func readHolder(e entry, ignored map[string]bool, named bool) (*holder, error) {
	h := &holder{rules: &rules{ignored: ignored}}
	for _, inner := range e.entries {
		if !named || inner.name != "name" {
			if err := h.rules.add(inner); err != nil {
				return nil, err
			}
			continue
		}
		if h.name != "" {
			return nil, mistake(inner.line, "name occurs twice")
		}
		unprinted := func(r rune) bool { return !unicode.IsPrint(r) }
		if inner.text == nil || *inner.text == "" || len(*inner.text) > 128 || strings.ContainsFunc(*inner.text, unprinted) {
			return nil, mistake(inner.line, "a name has 1 to 128 printable bytes")
		}
		h.name = *inner.text
	}
	if named && h.name == "" {
		return nil, mistake(e.line, `the token has no name; add name = "NAME": errors show it, and never the secret`)
	}
	return h, nil
}

// errUnknownToken is Consul's answer to a token that does not exist.
var errUnknownToken = errors.New("ACL not found")

// ACL holds the current tokens. It is safe for concurrent use.
type ACL struct{ current atomic.Pointer[Tokens] }

// NewACL returns an ACL with these tokens. It denies all that they do not allow.
func NewACL(t *Tokens) *ACL {
	a := &ACL{}
	a.Swap(t)
	return a
}

// Swap replaces the tokens. Requests that are already waiting are judged by the new ones.
func (a *ACL) Swap(t *Tokens) { a.current.Store(t) }

// Tokens returns the current tokens.
func (a *ACL) Tokens() *Tokens { return a.current.Load() }
