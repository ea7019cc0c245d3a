package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"kvexpress/internal/httpd"
	"kvexpress/internal/safetext"
)

// OfReady asks the hub of this machine whether it is ready. listen is where it listens.
func OfReady(listen string, secure bool) Check {
	return Check{Name: "ready", About: listen, Run: func(ctx context.Context) []Finding {
		network, addr, scheme := "tcp", listen, "http://"
		if filepath.IsAbs(listen) {
			network = "unix"
		} else if host, port, err := net.SplitHostPort(listen); err == nil && (host == "" || net.ParseIP(host).IsUnspecified()) {
			addr = net.JoinHostPort("localhost", port)
		}
		if secure {
			scheme = "https://"
		}
		client := &http.Client{Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, addr)
			},
			// The name in its certificate is for agents, and nothing secret is sent.
			TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // see above
			DisableKeepAlives: true,
		}}
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"localhost"+httpd.ReadyPath, nil)
		if err != nil {
			return []Finding{found(Failure, "%v", err)}
		}
		answer, err := client.Do(r)
		switch dial := (*net.OpError)(nil); {
		case err != nil && strings.Contains(err.Error(), "certificate required"):
			return []Finding{found(OK, "it runs, and answers only clients with a certificate")}
		case errors.As(err, &dial) && dial.Op == "dial":
			return []Finding{found(Failure, "no hub listens there: %v; `systemctl start kvexpress-hub`", dial.Err)}
		case err != nil:
			return []Finding{found(Failure, "%v; check listen, tls_cert and what else listens there", err)}
		}
		body, err := io.ReadAll(io.LimitReader(answer.Body, maxSays))
		switch _ = answer.Body.Close(); { // it was read
		case err != nil:
			return []Finding{found(Failure, "its answer broke off: %v; read its log", err)}
		case answer.StatusCode != http.StatusOK:
			return []Finding{found(Failure, "it is not ready: %s; read its log", safetext.Joined(strings.TrimSpace(string(body)), 0))}
		}
		return []Finding{found(OK, "the hub is ready")}
	}}
}

// expiresSoon is when a certificate that ends is a warning.
const expiresSoon = 7 * 24 * time.Hour

// OfCertificates checks the certificates in a PEM file. Its first one that is out of date counts.
func OfCertificates(file string) Check {
	return Check{Name: "certificate", About: file, Run: func(context.Context) []Finding {
		b, err := os.ReadFile(file)
		if path := (*fs.PathError)(nil); errors.As(err, &path) {
			return []Finding{found(Failure, "it cannot be read: %v; correct its path or its mode", path.Err)}
		}
		all, now := []Finding{found(Failure, "the file has no certificate; give one in PEM format")}, time.Now()
		for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
			c, err := x509.ParseCertificate(block.Bytes)
			switch {
			case block.Type != "CERTIFICATE":
				continue
			case err != nil:
				return []Finding{found(Failure, "%v; give one in PEM format", err)}
			case now.After(c.NotAfter) || now.Before(c.NotBefore):
				return []Finding{found(Failure, "%s is valid from %s to %s; renew it, or correct this machine's clock", c.Subject,
					c.NotBefore.UTC().Format(time.RFC3339), c.NotAfter.UTC().Format(time.RFC3339))}
			case c.NotAfter.Sub(now) < expiresSoon:
				return []Finding{found(Warning, "%s ends at %s; renew it", c.Subject, c.NotAfter.UTC().Format(time.RFC3339))}
			}
			all[0] = found(OK, "valid")
		}
		return all
	}}
}
