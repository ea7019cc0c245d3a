package publish

import (
	"regexp"
	"strings"
	"testing"

	"kvexpress/test/e2e"
)

// Syslog has each line once, with the tag and in the form of 1.x.
func TestSyslog(t *testing.T) {
	t.Parallel()
	_, m := e2e.Start(t)
	inbox := newSyslog(t)
	m = m.With("KVEXPRESS_SYSLOG="+inbox.addr, "CONSUL_HTTP_TOKEN=00000000-0000-0000-0000-secrettoken0")
	m.File("source", e2e.Text("one", 20))
	form := regexp.MustCompile(`^<1[0-9]>[A-Z][a-z]{2} [ 0-9]\d \d{2}:\d{2}:\d{2} kvexpress\[\d+\]: ([a-z]+): (.*)$`)
	hosts := m.Path("hosts")

	for _, c := range []struct {
		name string
		args []string
		code int
		want []string // each is in exactly one line of the log
		no   []string
	}{
		{"in", []string{"in", "-k", "hosts", "-f", "source"}, 0, []string{"published key='hosts' version='1'"}, []string{"127.0.0.1"}},
		{"out", []string{"out", "-k", "hosts", "-f", hosts}, 0, []string{"installed key='hosts' file='" + hosts + "' version='1'"},
			nil},
		{"nothing to do", []string{"out", "-k", "hosts", "-f", hosts}, 0, nil, []string{"out: unchanged"}},
		{"refused", []string{"out", "-k", "hosts", "-f", hosts, "-l", "99"}, 6, []string{" 99 "}, nil},
		{"no such key", []string{"out", "-k", "nothing", "-f", hosts}, 5, []string{"no such key"}, nil},
		{"no such file", []string{"in", "-k", "hosts", "-f", "nowhere"}, 1, []string{"nowhere"}, nil},
		{"the exec fails", []string{"in", "-z", "-k", "other", "-f", "source", "-e", "false"}, 8, []string{"exec", "published"}, nil},
		{"usage", []string{"in", "-k", "hosts"}, 1, []string{"nothing"}, nil},
		{"a bad prefix", []string{"in", "-p", "a//b", "-k", "hosts", "-f", "source"}, 1, []string{"a//b"}, nil},
		{"a bad flag", []string{"in", "--nosuchflag"}, 1, []string{"nosuchflag"}, nil},
		{"no such command", []string{"inn"}, 1, []string{"inn"}, nil},
		{"a bad address", []string{"out", "-s", "ftp://x", "-k", "hosts", "-f", hosts}, 1, []string{"ftp"}, nil},
		{"no configuration", []string{"out", "-C", m.Path("nowhere"), "-k", "hosts", "-f", hosts}, 1, []string{"nowhere"}, nil},
		{"stop", []string{"stop", "-k", "hosts", "-r", "a reason"}, 0, []string{"stopped key='hosts' reason='a reason'"}, nil},
		{"stopped", []string{"in", "-k", "hosts", "-f", "source"}, 3, []string{"a reason"}, nil},
		{"left alone", []string{"out", "-k", "hosts", "-f", hosts}, 0, []string{"a reason"}, nil},
		{"left alone, strictly", []string{"out", "-k", "hosts", "-f", hosts, "--strict"}, 3, []string{"a reason"}, nil},
		{"resume", []string{"resume", "-k", "hosts"}, 0, []string{"resumed key='hosts'"}, nil},
		{"lock", []string{"lock", "-f", hosts, "-r", "a reason"}, 0, []string{"locked file='" + hosts + "'"}, nil},
		{"locked", []string{"out", "-k", "hosts", "-f", hosts}, 0, []string{"a reason"}, nil},
		{"unlock", []string{"unlock", "-f", hosts}, 0, []string{"unlocked file='" + hosts + "'"}, nil},
	} {
		r := m.Want(c.code, c.args...)
		lines := inbox.lines()
		all := strings.Join(lines, "\n")
		for _, line := range lines {
			got := form.FindStringSubmatch(line)
			if got == nil {
				t.Errorf("%s: syslog gets %q", c.name, line)
			} else if got[1] != c.args[0] && got[1] != "main" {
				t.Errorf("%s: the line begins with %q", c.name, got[1])
			}
		}
		for _, part := range c.want {
			if n := strings.Count(all, part); n != 1 {
				t.Errorf("%s: syslog says %q %d times, want once:\n%s", c.name, part, n, all)
			}
		}
		for _, part := range append(c.no, "secrettoken") {
			if strings.Contains(all+r.Stdout+r.Stderr, part) {
				t.Errorf("%s: %q is logged:\n%s\n%s%s", c.name, part, all, r.Stdout, r.Stderr)
			}
		}
		if c.code != 0 && strings.Count(r.Stderr, "\n") != 1 {
			t.Errorf("%s: stderr has to be one line:\n%s", c.name, r.Stderr)
		}
	}

	// --verbose and debug lines appear only if requested.
	m.Ok("out", "-k", "hosts", "-f", hosts)
	inbox.lines()
	if r := m.With("KVEXPRESS_DEBUG=1").Want(0, "out", "-k", "hosts", "-f", hosts); strings.Contains(r.Stdout, "out: unchanged") {
		t.Errorf("KVEXPRESS_DEBUG prints:\n%s", r.Stdout)
	}
	if got := strings.Join(inbox.lines(), "\n"); !strings.Contains(got, "out: unchanged key='hosts'") {
		t.Errorf("with KVEXPRESS_DEBUG syslog has %q", got)
	}
	stamp := regexp.MustCompile(`(?m)^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z: out: unchanged key='hosts'`)
	if r := m.Want(0, "out", "-k", "hosts", "-f", hosts, "--verbose"); !stamp.MatchString(r.Stdout) {
		t.Errorf("--verbose prints:\n%s", r.Stdout)
	}
	if got := inbox.lines(); len(got) > 0 {
		t.Errorf("--verbose tells syslog %v", got)
	}
}
