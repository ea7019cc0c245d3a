package consul

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"kvexpress/internal/kv"
)

// docs/troubleshooting.md shows the table. KVEXPRESS_UPDATE=1 writes it anew.
func TestFaultsAreDocumented(t *testing.T) {
	const page = "../../../docs/troubleshooting.md"
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	flags := &Store{target: target{scheme: "https", host: "consul.example:8501"}}
	file := &Store{target: flags.target, env: settings{Options: Options{File: "agent.yml"}}}
	m := symptom{store: flags, err: errors.New("")}
	table := "<!-- faults -->\n| cause | the message says | what to do | tried again |\n|---|---|---|---|\n"
	for _, f := range faults() {
		if f.remedy == "" {
			continue
		}
		says, again := flags.fill(f.says, m), "no"
		if f.kind != nil && says == "" {
			says = f.kind.Error()
		}
		if !f.final && (f.kind == nil || errors.Is(f.kind, kv.ErrUnreachable)) {
			again = "yes"
		}
		table += fmt.Sprintf("| %s | %s | %s | %s |\n", f.name, says, flags.fill(f.remedy, m), again)
		for _, text := range []string{flags.fill(f.says+f.remedy, m), file.fill(f.says+f.remedy, m)} {
			if strings.ContainsAny(text, "{}") {
				t.Errorf("%s: a name in braces is left: %s", f.name, text)
			}
		}
	}
	want := regexp.MustCompile("(?s)<!-- faults -->.*<!-- end -->").ReplaceAllLiteralString(string(b), table+"<!-- end -->")
	if os.Getenv("KVEXPRESS_UPDATE") != "" {
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if want != string(b) {
		t.Errorf("%s is stale; KVEXPRESS_UPDATE=1 go test ./internal/store/consul writes it", page)
	}
}

// Each row of the table has a failure, and no earlier row fits that failure.
func TestEachFaultIsDiagnosed(t *testing.T) {
	dial := func(errno syscall.Errno) error {
		return &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", errno)}
	}
	answer := func(status int, text string) error { return &answerError{status: status, text: text} }
	alert := errors.New("remote error: tls: bad certificate")
	certified := &Store{env: settings{Options: Options{ClientCert: "client.pem"}}}
	failures := map[string][]symptom{
		"canceled":                   {{err: fmt.Errorf("read: %w", context.Canceled)}},
		"unknown CA":                 {{err: x509.UnknownAuthorityError{}}},
		"wrong name":                 {{err: x509.HostnameError{Certificate: &x509.Certificate{}, Host: "x"}}},
		"expired certificate":        {{err: x509.CertificateInvalidError{Reason: x509.Expired}}},
		"bad certificate":            {{err: &tls.CertificateVerificationError{Err: x509.CertificateInvalidError{Reason: x509.TooManyIntermediates}}}},
		"client certificate missing": {{err: alert}},
		"client certificate refused": {{err: alert, store: certified}},
		"old TLS":                    {{err: errors.New("tls: server selected unsupported protocol version 301")}},
		"https to an http port":      {{err: tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}}},
		"http to an https port": {{err: answer(400, "Client sent an HTTP request to an HTTPS server.")},
			{err: errors.New(`malformed HTTP response "\x15\x03\x01"`)}},
		"not HTTP":              {{err: errors.New(`malformed HTTP response "220 ready"`)}},
		"unknown host":          {{err: &net.DNSError{Err: "no such host", Name: "x"}}},
		"no socket":             {{err: dial(syscall.ENOENT)}},
		"socket refused":        {{err: dial(syscall.EACCES)}},
		"connection refused":    {{err: dial(syscall.ECONNREFUSED)}},
		"no route":              {{err: dial(syscall.ENETUNREACH)}, {err: dial(syscall.EHOSTUNREACH)}},
		"time-out":              {{err: noAnswerError(1)}, {err: dial(syscall.ETIMEDOUT)}},
		"redirect":              {{err: answer(302, "")}},
		"proxy login":           {{err: answer(401, "")}},
		"unknown token":         {{err: answer(403, "ACL not found")}},
		"missing permission":    {{err: answer(403, "Permission denied: anonymous token")}},
		"block_endpoints":       {{err: answer(403, "Endpoint is blocked by agent configuration")}},
		"allow_write_http_from": {{err: answer(403, "Access is restricted")}},
		"blocked by a proxy":    {{err: answer(403, "no")}},
		"too many connections":  {{err: answer(429, "Your IP is issuing too many concurrent connections")}},
		"too many requests":     {{err: answer(429, "rate limit")}},
		"too large":             {{err: answer(413, "")}},
		"namespace":             {{err: answer(400, "Invalid query parameter: \"ns\" - Namespaces are a Consul Enterprise feature")}},
		"not Consul":            {{err: answer(200, "<html>")}, {err: answer(404, "")}, {err: answer(409, "")}},
		"refused request":       {{err: answer(400, "bad")}, {err: answer(405, "")}},
		"no leader":             {{err: answer(500, "rpc error: No cluster leader")}, {err: errors.New("the server that answered knows no leader")}},
		"unknown datacenter":    {{err: answer(500, "No path to datacenter")}},
		"server error":          {{err: answer(502, "")}, {err: answer(500, "raft apply failed: leadership lost")}},
		"invalid answer":        {{err: errors.New("status 200, and not a list"), kind: kv.ErrNotStore}},
		"no connection":         {{err: io.EOF, kind: kv.ErrUnreachable}, {err: dial(syscall.ECONNRESET), kind: kv.ErrUnreachable}},
	}
	for _, f := range faults() {
		if failures[f.name] == nil {
			t.Errorf("no failure is tested for the row %q", f.name)
		}
	}
	for name, symptoms := range failures {
		for _, m := range symptoms {
			s := m.store
			if s == nil {
				s = &Store{target: target{scheme: "http", host: "x:1"}}
			}
			if row, _ := s.diagnose(m.kind, m.err); row.name != name {
				t.Errorf("%v is diagnosed as %q, want %q", m.err, row.name, name)
			}
		}
	}
}
