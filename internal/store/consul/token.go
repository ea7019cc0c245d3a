package consul

import (
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"kvexpress/internal/safetext"
)

// maxTokenFile is in bytes; a token has 36.
const maxTokenFile = 4 << 10

// token is the ACL token of a store. A token in a file can be replaced while a daemon runs.
type token struct {
	env settings

	mu   sync.Mutex
	last string
}

func newToken(env settings, first string) *token {
	safetext.Hide(first)
	return &token{env: env, last: first}
}

// current is the token now. If its file cannot be read or is empty, as while it is written, the last token stays.
func (t *token) current() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now, err := chooseToken(t.env); err == nil && now != "" && now != t.last {
		safetext.Hide(now)
		t.last = now
	}
	return t.last
}

// chooseToken finds the ACL token; "" is the anonymous token.
func chooseToken(s settings) (token string, err error) {
	switch {
	case s.TokenFile != "":
		if token, err = readToken(s.TokenFile); err == nil && token == "" {
			err = fmt.Errorf("token file %s: it is empty", s.TokenFile)
		}
	case s.Token != "":
		token = s.Token
	case s.envTokenFile != "":
		token, err = readToken(s.envTokenFile)
		token = cmp.Or(token, s.envToken) // as Consul does, unlike a file that was asked for
	default:
		token = s.envToken
	}
	if err != nil {
		return "", err
	}
	if strings.ContainsFunc(token, func(r rune) bool { return r < ' ' || r > '~' }) {
		return "", errors.New("the Consul token holds a character that cannot be sent; check for a line break in it")
	}
	return token, nil
}

func readToken(path string) (string, error) {
	b, err := readCapped(path, maxTokenFile)
	if err != nil {
		return "", fmt.Errorf("read the token file: %w; create it, or name another", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// credentials returns the header of every request but the token, and registers its secrets for redaction.
func credentials(auth *login) http.Header {
	header := http.Header{"Content-Type": {"application/json"}}
	if auth != nil {
		both := base64.StdEncoding.EncodeToString([]byte(auth.user + ":" + auth.password))
		header.Set("Authorization", "Basic "+both)
		safetext.Hide(both)
		safetext.Hide(auth.password)
	}
	return header
}
