package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Authority signs certificates.
type Authority struct {
	t    testing.TB
	dir  string
	Cert *x509.Certificate
	key  *ecdsa.PrivateKey
	File string // its certificate, in PEM
}

// NewAuthority makes one, with the PEM file DIR/NAME.
func NewAuthority(t testing.TB, dir, name string) *Authority {
	t.Helper()
	a := &Authority{t: t, dir: dir}
	a.Cert, a.key, a.File = a.Sign(name, nil, nil, time.Hour)
	return a
}

// Sign makes a certificate for addresses and names, and PEM files of it and its key, which is the path with .key.
func (a *Authority) Sign(file string, ips []net.IP, names []string, lasts time.Duration) (
	*x509.Certificate, *ecdsa.PrivateKey, string,
) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-2 * time.Hour),
		NotAfter: time.Now().Add(lasts), IPAddresses: ips, DNSNames: names, BasicConstraintsValid: true, IsCA: a.Cert == nil,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	parent, parentKey := a.Cert, a.key
	if parent == nil {
		parent, parentKey = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, parentKey)
	if err != nil {
		a.t.Fatal(err)
	}
	secret, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	if c, err = x509.ParseCertificate(der); err != nil {
		a.t.Fatal(err)
	}
	path := filepath.Join(a.dir, file)
	for name, block := range map[string]*pem.Block{
		path: {Type: "CERTIFICATE", Bytes: der}, path + ".key": {Type: "EC PRIVATE KEY", Bytes: secret},
	} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	return c, key, path
}
