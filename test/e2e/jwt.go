package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"testing"
	"time"
)

// Issuer signs JSON Web Tokens.
type Issuer struct {
	t   testing.TB
	key *ecdsa.PrivateKey
}

// NewIssuer makes one.
func NewIssuer(t testing.TB) *Issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &Issuer{t, key}
}

// Config is the configuration of Consul's auth method for this issuer, as docs/permissions.md has it.
func (i *Issuer) Config() string {
	i.t.Helper()
	der, err := x509.MarshalPKIXPublicKey(&i.key.PublicKey)
	if err != nil {
		i.t.Fatal(err)
	}
	return i.json(map[string]any{
		"JWTValidationPubKeys": []string{string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))},
		"JWTSupportedAlgs":     []string{"ES256"}, "BoundIssuer": "machines.example", "BoundAudiences": []string{"consul"},
		"ClaimMappings": map[string]string{"sub": "node"},
	})
}

// Token is the token of a node, for an hour.
func (i *Issuer) Token(node string) string {
	i.t.Helper()
	now := time.Now()
	part := func(v any) string { return base64.RawURLEncoding.EncodeToString([]byte(i.json(v))) }
	text := part(map[string]string{"alg": "ES256", "typ": "JWT"}) + "." + part(map[string]any{"iss": "machines.example",
		"aud": "consul", "sub": node, "iat": now.Unix(), "nbf": now.Unix() - 60, "exp": now.Unix() + 3600})
	sum := sha256.Sum256([]byte(text))
	r, s, err := ecdsa.Sign(rand.Reader, i.key, sum[:])
	if err != nil {
		i.t.Fatal(err)
	}
	signature := append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	return text + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func (i *Issuer) json(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		i.t.Fatal(err)
	}
	return string(b)
}
