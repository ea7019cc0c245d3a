package kv

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Limits on names, in bytes. They keep the largest transaction below Consul's limit (see MaxStored).
const (
	MaxKeyLen    = 256
	MaxPrefixLen = 128
	MaxNodeLen   = 253 // as in DNS
)

// Key is the validated name of one distributed file, such as "hosts" or "team/app/flags". Only ParseKey makes one.
type Key string

// NameError reports the part of a name that is not allowed, and why.
type NameError struct {
	What   string // "key", "prefix" or "node"
	Name   string // the name as it was given
	Reason string
}

func (e *NameError) Error() string {
	return fmt.Sprintf("%s %s: %s", e.What, Quote(e.Name), e.Reason)
}

// Quote makes a name from outside safe to print: it escapes control and non-ASCII characters, and cuts after 80 bytes.
func Quote(s string) string {
	const most = 80
	if len(s) > most {
		return strconv.QuoteToASCII(s[:most]) + fmt.Sprintf("... (%d bytes)", len(s))
	}
	return strconv.QuoteToASCII(s)
}

// KeyRows returns the names of the rows of a key. They are reserved: no part of a key may be one, or its paths would be
// ambiguous.
func KeyRows() []string {
	return []string{"data", "checksum", "manifest", "stop", "policy", "candidate", "signature"}
}

// ParseKey validates the name of a key. A leading slash is dropped, as in 1.x. Rules: characters [A-Za-z0-9._/-], no empty part,
// no part that begins with a dot, no reserved part, and "locks" not first. The error is a *NameError and names the bad part.
func ParseKey(s string) (Key, error) {
	bad := func(format string, args ...any) (Key, error) {
		return "", &NameError{What: "key", Name: s, Reason: fmt.Sprintf(format, args...)}
	}
	name := strings.TrimPrefix(s, "/")
	if name == "" {
		return bad("the name is empty")
	}
	if len(name) > MaxKeyLen {
		return bad("the name has %d bytes, at most %d are allowed", len(name), MaxKeyLen)
	}
	parts := strings.Split(name, "/")
	for _, part := range parts {
		if reason := badPart(part); reason != "" {
			return bad("%s", reason)
		}
		if slices.Contains(KeyRows(), part) {
			return bad("the part %q is reserved", part)
		}
	}
	if parts[0] == "locks" {
		return bad(`the part "locks" is reserved at the beginning`)
	}
	return Key(name), nil
}

// Ancestors returns the keys that k is nested in, outermost first: "a" and "a/b" for "a/b/c".
func (k Key) Ancestors() []Key {
	var up []Key
	for i, c := range k {
		if c == '/' {
			up = append(up, k[:i])
		}
	}
	return up
}

func parsePrefix(s string) (string, error) {
	bad := func(format string, args ...any) (string, error) {
		return "", &NameError{What: "prefix", Name: s, Reason: fmt.Sprintf(format, args...)}
	}
	prefix := strings.Trim(s, "/")
	if prefix == "" {
		return bad("the prefix is empty")
	}
	if len(prefix) > MaxPrefixLen {
		return bad("the prefix has %d bytes, at most %d are allowed", len(prefix), MaxPrefixLen)
	}
	for part := range strings.SplitSeq(prefix, "/") {
		if reason := badPart(part); reason != "" {
			return bad("%s", reason)
		}
	}
	return prefix, nil
}

// ParseNode validates the name of a node: one part, with the characters of keys, at most MaxNodeLen bytes. The error is a
// *NameError.
func ParseNode(s string) (string, error) {
	reason := badPart(s)
	switch {
	case s == "":
		reason = "the name is empty"
	case len(s) > MaxNodeLen:
		reason = fmt.Sprintf("the name has %d bytes, at most %d are allowed", len(s), MaxNodeLen)
	}
	if reason != "" {
		return "", &NameError{What: "node", Name: s, Reason: reason}
	}
	return s, nil
}

// badPart returns why a part of a key, prefix or node is not allowed; "" if it is allowed.
func badPart(part string) string {
	switch {
	case part == "":
		return "a part between slashes is empty"
	case part == "." || part == "..":
		return fmt.Sprintf("the part %q is not allowed", part)
	case part[0] == '.':
		return fmt.Sprintf("the part %s begins with a dot", Quote(part))
	}
	for _, c := range part {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '_', c == '-':
		default:
			return fmt.Sprintf("the part %s contains %s; allowed are letters, digits and . _ -", Quote(part), strconv.QuoteRuneToASCII(c))
		}
	}
	return ""
}
