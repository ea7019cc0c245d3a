package consul_test

import (
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kvexpress/internal/kv"
	"kvexpress/internal/store/consul"
)

const rowAnswer = `{"Results":[{"KV":{"Key":"` + readPath + `","CreateIndex":1,"ModifyIndex":1}}]}`

// Which token is sent, for all that can be given.
func TestToken(t *testing.T) {
	var sent []string
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		sent = r.Header.Values("X-Consul-Token")
		answer(200, "application/json", rowAnswer)(w, r)
	})
	file := func(content string) string {
		path := filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	tests := []struct {
		name    string
		options consul.Options
		env     string
		envFile string
		want    string // empty: none is sent
		fails   string
	}{
		{name: "none"},
		{name: "environment", env: "env", want: "env"},
		{name: "environment's file before its token", env: "env", envFile: file(" envfile\n"), want: "envfile"},
		{name: "environment's empty file", env: "env", envFile: file("\n"), want: "env"},
		{name: "given before all of the environment", options: consul.Options{Token: "given"}, env: "env", envFile: file("envfile"),
			want: "given"},
		{name: "given, the same as the environment's", options: consul.Options{Token: "env"}, env: "env", envFile: "missing",
			want: "env"},
		{name: "given file", options: consul.Options{TokenFile: file("file\n")}, env: "env", envFile: file("envfile"), want: "file"},
		{name: "given file before a given token", options: consul.Options{TokenFile: file("file"), Token: "given"}, want: "file"},
		{name: "given file is missing", options: consul.Options{TokenFile: "missing"}, env: "env", fails: "missing"},
		{name: "given file is empty", options: consul.Options{TokenFile: file(" \n")}, env: "env", fails: "empty"},
		{name: "given file is huge", options: consul.Options{TokenFile: file(strings.Repeat("x", 5000))}, fails: "4096"},
		{name: "environment's file is missing", env: "env", envFile: "missing", fails: "missing"},
		{name: "a line break in it", options: consul.Options{Token: "two\nlines"}, fails: "line break"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			withoutEnvironment(t)
			t.Setenv("CONSUL_HTTP_TOKEN", test.env)
			t.Setenv("CONSUL_HTTP_TOKEN_FILE", test.envFile)
			test.options.Addr = server.URL
			s, err := consul.New(test.options)
			if test.fails != "" {
				if err == nil || !strings.Contains(err.Error(), test.fails) {
					t.Errorf("New gives %v, want an error with %q", err, test.fails)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Read(t.Context(), kv.Default, readPath); err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(sent, ","); got != test.want {
				t.Errorf("the token sent is %q, want %q", got, test.want)
			}
		})
	}
}

func TestAddr(t *testing.T) {
	tests := []struct {
		given, env, ssl string
		want            string
		fails           string
	}{
		{want: "localhost:8500"},
		{env: "consul.example:80", want: "consul.example:80"},
		{given: "10.0.0.1:8500", env: "https://consul.example", want: "10.0.0.1:8500"},
		{given: "http://10.0.0.1:8500/", want: "10.0.0.1:8500"},
		{given: "https://consul.example/behind/", want: "https://consul.example/behind"},
		{given: "[::1]:8500", want: "[::1]:8500"},
		{given: "consul.example:8501", ssl: "true", want: "https://consul.example:8501"},
		{given: "http://consul.example:8501", ssl: "1", want: "https://consul.example:8501"},
		{given: "unix:///run/consul.sock", want: "unix:///run/consul.sock"},
		{env: "unix:///run/consul.sock", want: "unix:///run/consul.sock"},
		{given: "unix://", fails: "socket"},
		{given: "ftp://consul.example", fails: `"ftp"`},
		{given: "http://", fails: "host:port"},
		{given: "::1:8500", fails: "brackets"},
		{given: "fe80::1", fails: "brackets"},
		{given: "consul.example:port", fails: "host:port"},
		{given: "consul.example?token=" + token, fails: "host:port"},
		{given: "http://root:" + token + "@consul.example", fails: "CONSUL_HTTP_AUTH"},
		{given: "\x1b[31m", fails: `\x1b`},
	}
	for _, test := range tests {
		withoutEnvironment(t)
		t.Setenv("CONSUL_HTTP_ADDR", test.env)
		t.Setenv("CONSUL_HTTP_SSL", test.ssl)
		s, err := consul.New(consul.Options{Addr: test.given})
		switch {
		case test.fails != "":
			if err == nil || !strings.Contains(err.Error(), test.fails) {
				t.Errorf("address %q gives %v, want an error with %q", test.given, err, test.fails)
			}
		case err != nil:
			t.Errorf("address %q: %v", test.given, err)
		case s.Addr() != test.want:
			t.Errorf("address %q is %s, want %s", test.given, s.Addr(), test.want)
		}
	}
}

// The certificate is verified, by the CA that the environment names.
func TestTLS(t *testing.T) {
	reached := 0
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reached++
		answer(200, "application/json", rowAnswer)(w, r)
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // of the handshakes that must fail
	server.StartTLS()
	t.Cleanup(server.Close)

	for name, err := range requests(t.Context(), open(t, consul.Options{Addr: server.URL, Token: token})) {
		checkError(t, name, err, kv.ErrUnreachable)
	}
	if reached != 0 {
		t.Errorf("%d requests reached a server with an unknown certificate", reached)
	}

	ca := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(ca, block, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("CONSUL_CACERT", ca)
	s, err := consul.New(consul.Options{Addr: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Read(t.Context(), kv.Default, readPath); err != nil {
		t.Error(err)
	}

	t.Setenv("CONSUL_CACERT", filepath.Join(t.TempDir(), "missing.pem"))
	if _, err := consul.New(consul.Options{Addr: server.URL}); err == nil {
		t.Error("a missing CA file is no error")
	}
	if _, err := consul.New(consul.Options{Addr: "127.0.0.1:8500"}); err != nil {
		t.Errorf("a CA file that is not needed is read: %v", err)
	}
}

// CONSUL_HTTP_AUTH is sent, and its password stays unseen.
func TestBasicAuth(t *testing.T) {
	withoutEnvironment(t)
	t.Setenv("CONSUL_HTTP_AUTH", "root:"+token)
	s, err := consul.New(consul.Options{Addr: serve(t, func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		answer(500, "text/plain", user+" "+password+" "+r.Header.Get("Authorization"))(w, r)
	}).URL})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Read(t.Context(), kv.Default, readPath)
	checkError(t, "Read", err, kv.ErrUnreachable)
	if !strings.HasSuffix(err.Error(), "root (secret) Basic (secret)") {
		t.Errorf("the error is %q", err)
	}
}
