//go:build linux

// Package doctor tests `kvexpress doctor` on real stores, hubs, agents, disks and processes.
package doctor

import (
	"crypto/tls"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"

	"kvexpress/internal/doctor"
	"kvexpress/test/e2e"
)

func TestMain(m *testing.M) { e2e.Main(m) }

// diagnosis is the answer of a doctor.
type diagnosis struct {
	t    *testing.T
	code int
	all  []doctor.Finding
}

func examine(t *testing.T, m *e2e.Machine, before []string, args ...string) diagnosis {
	t.Helper()
	argv := append(append(append([]string{}, before...), e2e.Program.Path, "doctor", "--json"), args...)
	cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	cmd.Env, cmd.Dir = m.Env, m.Dir
	out, err := cmd.Output()
	var r struct{ Findings []doctor.Finding }
	if json.Unmarshal(out, &r) != nil || len(r.Findings) == 0 {
		t.Fatalf("doctor prints %s, %v", out, err)
	}
	return diagnosis{t, cmd.ProcessState.ExitCode(), r.Findings}
}

// configure writes an agent.yml, also without targets.
func configure(m *e2e.Machine, name string, fields e2e.Fields, targets ...e2e.Fields) string {
	return m.Configure(name, fields, append([]e2e.Fields{}, targets...)...)
}

// says wants a finding of a check with this result and these words. Anything but ok has a remedy, behind a semicolon or a colon.
func (d diagnosis) says(check string, result doctor.Result, words ...string) {
	d.t.Helper()
	if (d.code == 1) != strings.Contains(d.text(), `"failure"`) {
		d.t.Errorf("exit code %d:\n%s", d.code, d.text())
	}
	for _, f := range d.all {
		fits := f.Check == check && f.Result == result
		for _, word := range words {
			fits = fits && strings.Contains(f.About+": "+f.Says, word)
		}
		if fits {
			return
		}
	}
	d.t.Errorf("no %s of %s with %q:\n%s", result, check, words, d.text())
}

func (d diagnosis) text() string {
	b, err := json.MarshalIndent(d.all, "", "  ")
	if err != nil {
		d.t.Fatal(err)
	}
	return string(b)
}

// front is a proxy before a server. With a certificate it speaks TLS. date replaces the time in answers; "": none.
func front(t *testing.T, to, certificate string, config *tls.Config, date string) (addr string) {
	t.Helper()
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: to})
	proxy.ModifyResponse = func(r *http.Response) error {
		if date != "" {
			r.Header.Set("Date", date)
		}
		return nil
	}
	s := httptest.NewUnstartedServer(proxy)
	t.Cleanup(s.Close)
	if certificate == "" {
		s.Start()
		return s.Listener.Addr().String()
	}
	pair, err := tls.LoadX509KeyPair(certificate, certificate+".key")
	if err != nil {
		t.Fatal(err)
	}
	config.Certificates = []tls.Certificate{pair}
	s.TLS = config
	s.StartTLS()
	return s.Listener.Addr().String()
}

func needsRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 && os.Getenv("CI") == "" {
		t.Skip("only root can mount, and become another user")
	}
}

func run(t *testing.T, argv ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), argv[0], argv[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %v %s", argv, err, out)
	}
}
