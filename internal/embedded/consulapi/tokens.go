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

// minSecret is the length of the shortest secret, in bytes. A UUID, which Consul's are, has 36.
const minSecret = 16

// Tokens are what a file of tokens says. They are not changed any more.
type Tokens struct {
	bySecret  map[[sha256.Size]byte]*holder // nobody learns a secret from how long a look-up takes
	anonymous *holder
	idle      []string
}

// holder is a token without its secret.
type holder struct {
	name  string // empty for that of requests without a token
	rules *rules
}

// Len is how many tokens there are.
func (t *Tokens) Len() int { return len(t.bySecret) }

// Anonymous reports whether requests without a token have rules.
func (t *Tokens) Anonymous() bool { return t.anonymous != nil }

// Idle are the kinds of rules in it that Consul knows and that have no effect here, in order.
func (t *Tokens) Idle() []string { return t.idle }

// ParseTokens reads a file of tokens:
//
//	token "SECRET" {
//	  name = "publisher"
//	  key_prefix "kvexpress/hosts/" { policy = "write" }
//	}
//	anonymous {
//	  key_prefix "public/" { policy = "read" }
//	}
//
// No error has anything of the text in it but its lines.
func ParseTokens(src []byte) (*Tokens, error) {
	v, err := parseHCL(src)
	if err != nil {
		return nil, err
	}
	t := &Tokens{bySecret: map[[sha256.Size]byte]*holder{}}
	idle, names := map[string]bool{}, map[string]bool{}
	for _, e := range v.entries {
		switch {
		case e.name == "anonymous" && e.text == nil:
			if t.anonymous != nil {
				return nil, mistake(e.line, "anonymous is there twice")
			}
			if t.anonymous, err = readHolder(e, idle, false); err != nil {
				return nil, err
			}
		case e.name == "token" && e.text == nil:
			for _, token := range e.entries {
				if err := t.add(token, names, idle); err != nil {
					return nil, err
				}
			}
		default:
			return nil, mistake(e.line,
				`a file of tokens has blocks token "SECRET" { name = "NAME" … } and anonymous { … }, and nothing else`)
		}
	}
	t.idle = slices.Sorted(maps.Keys(idle))
	return t, nil
}

func (t *Tokens) add(e entry, names, idle map[string]bool) error {
	switch {
	case e.text != nil:
		return mistake(e.line, `the secret is missing: write token "SECRET" { … }`)
	case len(e.name) < minSecret:
		return mistake(e.line, "the secret is shorter than %d bytes and could be guessed; `uuidgen` makes a good one", minSecret)
	case strings.ContainsFunc(e.name, func(r rune) bool { return r <= ' ' || r > '~' }):
		return mistake(e.line, "the secret has blanks or other signs that no header can carry; `uuidgen` makes a good one")
	}
	h, err := readHolder(e, idle, true)
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

func readHolder(e entry, idle map[string]bool, named bool) (*holder, error) {
	h := &holder{rules: &rules{idle: idle}}
	for _, inner := range e.entries {
		if !named || inner.name != "name" {
			if err := h.rules.add(inner); err != nil {
				return nil, err
			}
			continue
		}
		if h.name != "" {
			return nil, mistake(inner.line, "name is there twice")
		}
		unprinted := func(r rune) bool { return !unicode.IsPrint(r) }
		if inner.text == nil || *inner.text == "" || len(*inner.text) > 128 || strings.ContainsFunc(*inner.text, unprinted) {
			return nil, mistake(inner.line, "a name is a text of 1 to 128 bytes that can be printed")
		}
		h.name = *inner.text
	}
	if named && h.name == "" {
		return nil, mistake(e.line, `the token has no name; write name = "NAME" into its block: errors tell it, and never the secret`)
	}
	return h, nil
}

// ErrUnknownToken is Consul's answer to a token that does not exist.
var ErrUnknownToken = errors.New("ACL not found")

// ACL holds the current tokens. It is safe for concurrent use.
type ACL struct{ current atomic.Pointer[Tokens] }

// NewACL returns an ACL with these tokens. What they do not allow is denied.
func NewACL(t *Tokens) *ACL {
	a := &ACL{}
	a.Swap(t)
	return a
}

// Swap replaces the tokens. Requests that are already waiting are judged by the new ones.
func (a *ACL) Swap(t *Tokens) { a.current.Store(t) }

// Tokens returns the current tokens.
func (a *ACL) Tokens() *Tokens { return a.current.Load() }
