package consulapi

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
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
	rules rules
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
	all, err := parseHCL(src)
	if err != nil {
		return nil, err
	}
	t := &Tokens{bySecret: map[[sha256.Size]byte]*holder{}}
	ignored, names := map[string]bool{}, map[string]bool{}
	for _, b := range all {
		switch {
		case b.text == nil && len(b.labels) == 1 && b.labels[0] == "anonymous":
			if t.anonymous != nil {
				return nil, mistake(b.line, "anonymous occurs twice")
			}
			t.anonymous, err = readHolder(b, ignored, false)
		case b.text == nil && len(b.labels) == 2 && b.labels[0] == "token":
			err = t.add(b, names, ignored)
		default:
			err = mistake(b.line, `a token file contains only token "SECRET" { name = "NAME" … } and anonymous { … }`)
		}
		if err != nil {
			return nil, err
		}
	}
	t.ignored = slices.Sorted(maps.Keys(ignored))
	return t, nil
}

func (t *Tokens) add(b block, names, ignored map[string]bool) error {
	text := b.labels[1]
	switch {
	case len(text) < minSecret:
		return mistake(b.line, "the secret is shorter than %d bytes and could be guessed; create one with `uuidgen`", minSecret)
	case strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }):
		return mistake(b.line, "the secret has characters that no header can carry; create one with `uuidgen`")
	}
	h, err := readHolder(b, ignored, true)
	if err != nil {
		return err
	}
	if names[h.name] {
		return mistake(b.line, "another token has the same name")
	}
	secret := sha256.Sum256([]byte(text))
	if t.bySecret[secret] != nil {
		return mistake(b.line, "another token has the same secret")
	}
	names[h.name], t.bySecret[secret] = true, h
	return nil
}

// readHolder reads the name and the rules in a block. Rules that have no effect here are accepted as they are, so that a policy
// works in Consul too.
func readHolder(b block, ignored map[string]bool, named bool) (*holder, error) {
	h := &holder{rules: rules{}}
	for _, e := range b.inside {
		switch kind := e.labels[0]; kind {
		case "key", "key_prefix":
			if err := h.rules.add(e); err != nil {
				return nil, err
			}
		case "acl", "keyring", "operator", "mesh", "peering", "session", "session_prefix", "agent", "agent_prefix", "node",
			"node_prefix", "service", "service_prefix", "event", "event_prefix", "query", "query_prefix", "identity", "identity_prefix":
			ignored[kind] = true
		case "name":
			unprinted := func(r rune) bool { return !unicode.IsPrint(r) }
			switch {
			case !named:
				return nil, mistake(e.line, "anonymous has no name")
			case h.name != "":
				return nil, mistake(e.line, "name occurs twice")
			case e.text == nil || *e.text == "" || len(*e.text) > 128 || strings.ContainsFunc(*e.text, unprinted):
				return nil, mistake(e.line, "a name has 1 to 128 printable bytes")
			}
			h.name = *e.text
		default:
			return nil, mistake(e.line, "unknown rule; use key and key_prefix")
		}
	}
	if named && h.name == "" {
		return nil, mistake(b.line, `the token has no name; add name = "NAME": errors show it, and never the secret`)
	}
	return h, nil
}

// errUnknownToken is Consul's answer to a token that does not exist.
var errUnknownToken = status(http.StatusForbidden, "ACL not found")

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

// maxTokenFile is the largest token file, in bytes.
const maxTokenFile = 1 << 20

// LoadTokens reads a token file, which must satisfy ReadSecret.
func LoadTokens(path string) (*Tokens, error) {
	b, err := ReadSecret(path, maxTokenFile)
	if err != nil {
		return nil, err
	}
	t, err := ParseTokens(b)
	if err == nil && t.Len() == 0 && !t.Anonymous() {
		err = errEmpty
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

// ReadSecret reads a regular file of at most limit bytes. Only its owner, which must be root or this user, and its group may read
// it, and only its owner may write it. Symbolic links are followed.
func ReadSecret(path string, limit int64) (b []byte, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // do not block on a FIFO
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	if perm := info.Mode().Perm(); perm&^0o640 != 0 {
		return nil, fmt.Errorf("%s contains secrets and has mode %04o; run: chmod 0600 %s", path, perm, path)
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok && owner.Uid != 0 && int(owner.Uid) != os.Geteuid() {
		return nil, fmt.Errorf("%s belongs to uid %d, who could change the permissions; run: chown %d %s",
			path, owner.Uid, os.Geteuid(), path)
	}
	if b, err = io.ReadAll(io.LimitReader(f, limit+1)); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%s has more than %d bytes", path, limit)
	}
	return b, nil
}

var errEmpty = errors.New("it has no token and no anonymous block, so every request would be denied")
