package consul

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"kvexpress/internal/kv"
	"kvexpress/internal/safetext"
)

// settings are Options completed from Consul's environment variables, which mean the same as for Consul's commands. One
// difference: a switch that is neither true nor false is an error. Consul takes it for "do not verify".
type settings struct {
	Options
	scheme                 string
	envToken, envTokenFile string
	auth                   *login
	caPath                 string
	skipVerify             bool
}

// login is for a reverse proxy in front of Consul.
type login struct{ user, password string }

func (o Options) settled() (settings, error) {
	s := settings{Options: o, scheme: "http"}
	if o.Bare {
		s.Addr = cmp.Or(o.Addr, defaultAddr)
		return s, nil
	}
	s.Addr = cmp.Or(o.Addr, os.Getenv("CONSUL_HTTP_ADDR"), defaultAddr)
	s.envToken, s.envTokenFile = os.Getenv("CONSUL_HTTP_TOKEN"), os.Getenv("CONSUL_HTTP_TOKEN_FILE")
	s.Namespace = cmp.Or(o.Namespace, os.Getenv("CONSUL_NAMESPACE"))
	s.Partition = cmp.Or(o.Partition, os.Getenv("CONSUL_PARTITION"))
	s.ServerName = cmp.Or(o.ServerName, os.Getenv("CONSUL_TLS_SERVER_NAME"))
	s.CAFile, s.caPath = cmp.Or(o.CAFile, os.Getenv("CONSUL_CACERT")), os.Getenv("CONSUL_CAPATH")
	s.ClientCert = cmp.Or(o.ClientCert, os.Getenv("CONSUL_CLIENT_CERT"))
	s.ClientKey = cmp.Or(o.ClientKey, os.Getenv("CONSUL_CLIENT_KEY"))
	if auth := os.Getenv("CONSUL_HTTP_AUTH"); auth != "" {
		user, password, _ := strings.Cut(auth, ":")
		s.auth = &login{user, password}
	}
	ssl, err := boolVariable("CONSUL_HTTP_SSL", false)
	if err != nil {
		return s, err
	}
	if ssl {
		s.scheme = "https"
	}
	verify, err := boolVariable("CONSUL_HTTP_SSL_VERIFY", true)
	s.skipVerify = !verify
	return s, err
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

// tls reads the certificates.
func (e settings) tls() (*tls.Config, error) {
	config := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: e.skipVerify, //nolint:gosec // only if the environment asks for it
		ServerName:         e.ServerName,
	}
	if host, _, err := net.SplitHostPort(e.ServerName); err == nil {
		config.ServerName = host
	}
	if (e.ClientCert == "") != (e.ClientKey == "") {
		return nil,
			errors.New("CONSUL_CLIENT_CERT and CONSUL_CLIENT_KEY belong together; set both or none")
	}
	if e.ClientCert != "" {
		pair, err := tls.LoadX509KeyPair(e.ClientCert, e.ClientKey)
		if err != nil {
			return nil, fmt.Errorf("the client certificate: %w; correct CONSUL_CLIENT_CERT and CONSUL_CLIENT_KEY "+
				"(client_cert and client_key in agent.yml)", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	var err error
	config.RootCAs, err = e.authorities()
	return config, err
}

// authorities returns the CAs to trust; nil means the CAs of the system.
func (e settings) authorities() (*x509.CertPool, error) {
	files := []string{e.CAFile}
	switch {
	case e.CAFile == "" && e.caPath == "":
		return nil, nil
	case e.CAFile == "":
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
			return nil, fmt.Errorf("the certificate authority: %w; correct CONSUL_CACERT (ca_file in agent.yml)", err)
		}
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("the certificate authority %s: the file has no certificate", file)
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
