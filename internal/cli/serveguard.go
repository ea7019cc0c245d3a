package cli

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

	"github.com/spf13/pflag"

	"kvexpress/internal/cli/render"
	"kvexpress/internal/embedded/consulapi"
)

// maxPEM is the largest file of certificates or of a key, in bytes.
const maxPEM = 1 << 20

// guardFlags say who may reach a store, and what they may do there.
type guardFlags struct{ tokens, cert, key, clientCA string }

func (f *guardFlags) add(fl *pflag.FlagSet) {
	fl.StringVar(&f.tokens, "tokens", "", "`file` of tokens, and what each of them may do; without it everybody may do everything")
	fl.StringVar(&f.cert, "tls-cert", "", "`file` of the certificate (PEM) for https, with those between it and the authority")
	fl.StringVar(&f.key, "tls-key", "", "`file` of the certificate's key (PEM)")
	fl.StringVar(&f.clientCA, "tls-client-ca", "", "`file` of the authorities (PEM) of which clients must have a certificate")
}

// check is what can be said before anything is read.
func (f *guardFlags) check(listen string) error {
	switch {
	case (f.cert == "") != (f.key == ""):
		return errors.New("--tls-cert and --tls-key go together")
	case f.clientCA != "" && f.cert == "":
		return errors.New("--tls-client-ca needs --tls-cert and --tls-key")
	case f.cert != "" && strings.HasPrefix(listen, "/"):
		return errors.New("TLS is for addresses: who may use a socket, its group says")
	}
	return nil
}

// admits refuses to serve others than this machine's users unless they are known and nobody can listen in.
func (f *guardFlags) admits(listen string, addr net.Addr) error {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok || tcp.IP.IsLoopback() {
		return nil
	}
	var missing []string
	if f.cert == "" {
		missing = append(missing, "TLS (--tls-cert and --tls-key)")
	}
	if f.tokens == "" {
		missing = append(missing, "tokens (--tokens)")
	}
	if missing == nil {
		return nil
	}
	return fmt.Errorf("listen on %s: it is not an address of the loopback interface, and other machines need what is missing here: "+
		"%s; name an address such as %s, or use Consul for more than one machine",
		listen, strings.Join(missing, " and "), defaultServeListen)
}

// guard is who may reach a store, as the files say that are read again at each hang-up.
type guard struct {
	flags guardFlags
	acl   *consulapi.ACL // nil: everybody may do everything
	now   atomic.Pointer[tls.Config]
}

// loaded is what the files say.
type loaded struct {
	tokens *consulapi.Tokens
	tls    *tls.Config
}

func (f *guardFlags) load() (l loaded, err error) {
	if f.tokens != "" {
		if l.tokens, err = consulapi.LoadTokens(f.tokens); err != nil {
			return loaded{}, fmt.Errorf("the tokens: %w", err)
		}
	}
	if f.cert != "" {
		if l.tls, err = f.loadTLS(); err != nil {
			return loaded{}, err
		}
	}
	return l, nil
}

func (f *guardFlags) loadTLS() (*tls.Config, error) {
	cert, err := os.ReadFile(f.cert)
	if err != nil {
		return nil, fmt.Errorf("the certificate: %w", err)
	}
	key, err := consulapi.ReadSecret(f.key, maxPEM)
	if err != nil {
		return nil, fmt.Errorf("the key: %w", err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("the certificate %s with the key %s: %w", f.cert, f.key, err)
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, NextProtos: []string{"http/1.1"}}
	if f.clientCA != "" {
		authorities, err := os.ReadFile(f.clientCA)
		if err != nil {
			return nil, fmt.Errorf("the clients' authorities: %w", err)
		}
		c.ClientCAs, c.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
		if !c.ClientCAs.AppendCertsFromPEM(authorities) {
			return nil, fmt.Errorf("%s has no certificate in PEM", f.clientCA)
		}
	}
	return c, nil
}

func newGuard(f guardFlags) (*guard, error) {
	l, err := f.load()
	if err != nil {
		return nil, err
	}
	g := &guard{flags: f}
	if l.tokens != nil {
		g.acl = consulapi.NewACL(l.tokens)
	}
	g.now.Store(l.tls)
	return g, nil
}

// reload reads the files again. What cannot be read leaves all as it was.
func (g *guard) reload(log *slog.Logger) {
	if g.flags == (guardFlags{}) {
		log.Info("there are no files to read again")
		return
	}
	l, err := g.flags.load()
	if err != nil {
		log.Error("the files are refused, all stays as it was", "error", render.Error(err))
		return
	}
	if l.tokens != nil {
		g.acl.Swap(l.tokens)
	}
	g.now.Store(l.tls)
	log.Info("the files were read again")
	g.tell(log, l.tokens)
}

// tell logs what tokens there are, and which of their rules have no effect. No secret is in it.
func (g *guard) tell(log *slog.Logger, t *consulapi.Tokens) {
	if t == nil {
		return
	}
	log.Info("tokens", "tokens", t.Len(), "anonymous", t.Anonymous())
	if idle := t.Ignored(); len(idle) > 0 {
		log.Warn("ignoring rules for resources that this server does not have", "rules", strings.Join(idle, " "))
	}
}

// tls is what a listener has of it, if there is a certificate. Each connection has the one of the moment.
func (g *guard) tls() *tls.Config {
	if g.flags.cert == "" {
		return nil
	}
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return g.now.Load(), nil },
	}
}
