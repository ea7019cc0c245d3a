package hub

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync/atomic"

	"kvexpress/internal/embedded/consulapi"
	"kvexpress/internal/safetext"
)

// maxPEM is the largest file of certificates or of a key, in bytes.
const maxPEM = 1 << 20

// Files say who may connect to a hub, and what they may do there. "" is none.
type Files struct {
	Tokens   string // tokens of the embedded store; without it every client may do everything
	Cert     string // certificate (PEM) for https, followed by intermediate ones
	Key      string // key (PEM) of the certificate
	ClientCA string // authorities (PEM) that must have signed a client's certificate
}

// access holds the content of the files. A reload replaces it.
type access struct {
	files Files
	acl   *consulapi.ACL // nil: every client may do everything
	cert  atomic.Pointer[tls.Config]
}

func openAccess(o *Options) (*access, error) {
	f := o.Files
	switch {
	case o.MaxConnsPerClient < 1:
		return nil, errors.New("--max-conns-per-client must be at least 1")
	case f.Tokens != "" && !o.embedded():
		return nil, errors.New("--tokens needs an embedded store (--data-dir or --dev); without one, Consul checks tokens")
	case o.NodeFrom != "" && o.NodeFrom != NodeFromToken && o.NodeFrom != NodeFromCertificate:
		return nil, fmt.Errorf("--node-from: %.40q is not known; give token or certificate", o.NodeFrom)
	case o.NodeFrom == NodeFromCertificate && f.ClientCA == "":
		return nil, errors.New("--node-from certificate needs --tls-client-ca: without it, agents have no certificates")
	case (f.Cert == "") != (f.Key == ""):
		return nil, errors.New("--tls-cert and --tls-key need each other; give both or none")
	case f.ClientCA != "" && f.Cert == "":
		return nil, errors.New("--tls-client-ca needs --tls-cert and --tls-key")
	case f.Cert != "" && strings.HasPrefix(o.Listen, "/"):
		return nil, errors.New("a socket has no TLS: its owner and group decide who may connect; leave out --tls-cert")
	}
	tokens, cert, err := f.load()
	if err != nil {
		return nil, err
	}
	a := &access{files: f}
	if tokens != nil {
		a.acl = consulapi.NewACL(tokens)
	}
	a.cert.Store(cert)
	return a, nil
}

func (f Files) load() (tokens *consulapi.Tokens, cert *tls.Config, err error) {
	if f.Tokens != "" {
		if tokens, err = consulapi.LoadTokens(f.Tokens); err != nil {
			return nil, nil, fmt.Errorf("read the tokens: %w", err)
		}
	}
	if f.Cert != "" {
		if cert, err = f.loadTLS(); err != nil {
			return nil, nil, err
		}
	}
	return tokens, cert, nil
}

func (f Files) loadTLS() (*tls.Config, error) {
	cert, err := os.ReadFile(f.Cert)
	if err != nil {
		return nil, fmt.Errorf("read the certificate: %w", err)
	}
	key, err := consulapi.ReadSecret(f.Key, maxPEM)
	if err != nil {
		return nil, fmt.Errorf("read the key: %w", err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("use the certificate %s with the key %s: %w", f.Cert, f.Key, err)
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, NextProtos: []string{"http/1.1"}}
	if f.ClientCA != "" {
		authorities, err := os.ReadFile(f.ClientCA)
		if err != nil {
			return nil, fmt.Errorf("read the authorities of clients: %w", err)
		}
		c.ClientCAs, c.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
		if !c.ClientCAs.AppendCertsFromPEM(authorities) {
			return nil, fmt.Errorf("%s has no certificate in PEM", f.ClientCA)
		}
	}
	return c, nil
}

// admits refuses to serve the embedded store to other machines without encryption or without tokens.
func (a *access) admits(o *Options, addr net.Addr) error {
	tcp, ok := addr.(*net.TCPAddr)
	if !o.embedded() || !ok || tcp.IP.IsLoopback() {
		return nil
	}
	var missing []string
	if a.files.Cert == "" {
		missing = append(missing, "TLS (--tls-cert and --tls-key)")
	}
	if a.files.Tokens == "" {
		missing = append(missing, "tokens (--tokens)")
	}
	if missing == nil {
		return nil
	}
	return fmt.Errorf("listen on %s: a store that other machines can reach needs %s; give them, or listen on loopback, such as %s",
		o.Listen, strings.Join(missing, " and "), DefaultStoreListen)
}

// reload reads the files again.
func (a *access) reload(log *slog.Logger) {
	if a.files == (Files{}) {
		log.Info("nothing to reload: there are no files of tokens or certificates")
		return
	}
	tokens, cert, err := a.files.load()
	if err != nil {
		log.Error("reload refused; tokens and certificates stay as they were", "error", oneLine(err))
		return
	}
	if tokens != nil {
		a.acl.Swap(tokens)
		logTokens(log, tokens)
	}
	a.cert.Store(cert)
	log.Info("tokens and certificates reloaded")
}

// logTokens logs how many tokens there are, and never a secret.
func logTokens(log *slog.Logger, t *consulapi.Tokens) {
	log.Info("tokens", "tokens", t.Len(), "anonymous", t.Anonymous())
	if ignored := t.Ignored(); len(ignored) > 0 {
		log.Warn("ignoring rules for resources that this server does not have", "rules", strings.Join(ignored, " "))
	}
}

// tls is the configuration of the listener; nil: plain HTTP. A connection gets the certificate that is current when it
// begins.
func (a *access) tls() *tls.Config {
	if a.files.Cert == "" {
		return nil
	}
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return a.cert.Load(), nil },
	}
}

// oneLine is the text of an error without line breaks, which joined errors have.
func oneLine(err error) string { return safetext.Joined(err.Error(), 0) }
