package cli

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"

	"kvexpress/internal/agent"
	"kvexpress/internal/config"
	"kvexpress/internal/store/consul"
	"kvexpress/internal/wire"
)

// openHubs makes the way to the hubs of a configuration. Nothing is sent.
func openHubs(c config.Config) (agent.Uplink, error) {
	token := func() (string, error) { return consul.Token(consul.Options{TokenFile: c.Store.TokenFile}) }
	if _, err := token(); err != nil {
		return agent.Uplink{}, err
	}
	secure, err := hubTLS(c.Hubs)
	if err != nil {
		return agent.Uplink{}, err
	}
	return agent.Uplink{Dial: wire.Dialer{TLS: secure}.Dial, Token: token}, nil
}

// hubTLS reads the certificates for hubs; nil without hub_ca.
func hubTLS(h config.Hubs) (*tls.Config, error) {
	if h.CAFile == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(h.CAFile)
	if err != nil {
		return nil, fmt.Errorf("read hub_ca: %w; correct its path", err)
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: h.ServerName, RootCAs: x509.NewCertPool()}
	if !c.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("hub_ca %s: the file has no certificate; give one in PEM format", h.CAFile)
	}
	if h.ClientCert != "" {
		pair, err := tls.LoadX509KeyPair(h.ClientCert, h.ClientKey)
		if err != nil {
			return nil, fmt.Errorf("the client certificate for hubs: %w; correct hub_client_cert and hub_client_key", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// hubClients are clients of hubs, with the token of a store.
func hubClients(h config.Hubs, o consul.Options) ([]wire.Client, error) {
	if len(h.Addrs) == 0 {
		return nil, nil
	}
	token := func() (string, error) { return consul.Token(o) }
	if _, err := token(); err != nil {
		return nil, err
	}
	secure, err := hubTLS(h)
	if err != nil {
		return nil, err
	}
	var all []wire.Client
	for _, addr := range h.Addrs {
		all = append(all, wire.Client{Dialer: wire.Dialer{TLS: secure}, Addr: addr, Token: token})
	}
	return all, nil
}
