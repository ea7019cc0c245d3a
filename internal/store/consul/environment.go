package consul

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"kvexpress/internal/kv"
)

// environment is what Consul's own variables say. Their meaning is that of
// Consul's commands, except that a switch that is neither true nor false is an
// error: Consul takes an unreadable CONSUL_HTTP_SSL_VERIFY for "do not verify".
type environment struct {
	addr, scheme          string
	token, tokenFile      string
	auth                  *login
	namespace, partition  string
	serverName            string
	caFile, caPath        string
	clientCert, clientKey string
	skipVerify            bool
}

// login is the user and password of a reverse proxy before Consul.
type login struct{ user, password string }

func readEnvironment() (environment, error) {
	e := environment{
		addr:       os.Getenv("CONSUL_HTTP_ADDR"),
		scheme:     "http",
		token:      os.Getenv("CONSUL_HTTP_TOKEN"),
		tokenFile:  os.Getenv("CONSUL_HTTP_TOKEN_FILE"),
		namespace:  os.Getenv("CONSUL_NAMESPACE"),
		partition:  os.Getenv("CONSUL_PARTITION"),
		serverName: os.Getenv("CONSUL_TLS_SERVER_NAME"),
		caFile:     os.Getenv("CONSUL_CACERT"),
		caPath:     os.Getenv("CONSUL_CAPATH"),
		clientCert: os.Getenv("CONSUL_CLIENT_CERT"),
		clientKey:  os.Getenv("CONSUL_CLIENT_KEY"),
	}
	if e.addr == "" {
		e.addr = defaultAddr
	}
	if auth := os.Getenv("CONSUL_HTTP_AUTH"); auth != "" {
		user, password, _ := strings.Cut(auth, ":")
		e.auth = &login{user, password}
	}
	ssl, err := boolVariable("CONSUL_HTTP_SSL", false)
	if err != nil {
		return e, err
	}
	if ssl {
		e.scheme = "https"
	}
	verify, err := boolVariable("CONSUL_HTTP_SSL_VERIFY", true)
	e.skipVerify = !verify
	return e, err
}

// override puts what is asked for in the place of what the environment says.
func (e *environment) override(o Options) {
	for _, v := range []struct {
		field *string
		value string
	}{
		{&e.caFile, o.CAFile}, {&e.clientCert, o.ClientCert}, {&e.clientKey, o.ClientKey},
		{&e.serverName, o.ServerName}, {&e.namespace, o.Namespace}, {&e.partition, o.Partition},
	} {
		if v.value != "" {
			*v.field = v.value
		}
	}
}

func boolVariable(name string, otherwise bool) (bool, error) {
	text := os.Getenv(name)
	if text == "" {
		return otherwise, nil
	}
	value, err := strconv.ParseBool(text)
	if err != nil {
		return false, fmt.Errorf("%s is %s; set it to true or false", name, kv.Quote(text))
	}
	return value, nil
}

// tls reads the certificates and says how to use them.
func (e environment) tls() (*tls.Config, error) {
	config := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: e.skipVerify, //nolint:gosec // only if the environment asks for it
		ServerName:         e.serverName,
	}
	if host, _, err := net.SplitHostPort(e.serverName); err == nil {
		config.ServerName = host
	}
	if (e.clientCert == "") != (e.clientKey == "") {
		return nil, errors.New("a client's certificate and its key (CONSUL_CLIENT_CERT and CONSUL_CLIENT_KEY) belong together; set both or none")
	}
	if e.clientCert != "" {
		pair, err := tls.LoadX509KeyPair(e.clientCert, e.clientKey)
		if err != nil {
			return nil, fmt.Errorf("the client's certificate: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	var err error
	config.RootCAs, err = e.authorities()
	return config, err
}

// authorities is whom to trust; nil means those of the system.
func (e environment) authorities() (*x509.CertPool, error) {
	files := []string{e.caFile}
	switch {
	case e.caFile == "" && e.caPath == "":
		return nil, nil
	case e.caFile == "":
		entries, err := os.ReadDir(e.caPath)
		if err != nil {
			return nil, fmt.Errorf("CONSUL_CAPATH: %w", err)
		}
		files = nil
		for _, entry := range entries {
			if !entry.IsDir() {
				files = append(files, filepath.Join(e.caPath, entry.Name()))
			}
		}
	}
	pool := x509.NewCertPool()
	for _, file := range files {
		pem, err := readCapped(file, maxCertificates)
		if err != nil {
			return nil, fmt.Errorf("the certificate authority: %w", err)
		}
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("the certificate authority %s: there is no certificate in it", file)
		}
	}
	return pool, nil
}

// readCapped reads a small file.
func readCapped(path string, most int) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, int64(most)+1))
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	if len(b) > most {
		return nil, fmt.Errorf("%s has more than %d bytes; is it the right file?", path, most)
	}
	return b, nil
}
