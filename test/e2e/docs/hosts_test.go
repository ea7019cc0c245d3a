//go:build linux

package docs

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/testutil/consultest"
	"kvexpress/test/e2e"
)

// The test follows docs/hosts-file.md: it uses the files of the page, runs each command on the
// machines that the page names, and checks that names come and go in the answers of real
// dnsmasqs.
func TestHostsFilePage(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("../../../docs/hosts-file.md")
	if err != nil {
		t.Fatal(err)
	}
	steps := stepsOf(t, string(b))
	s := newHostsSite(t)
	for _, step := range steps {
		s.follow(step)
	}
	if t.Failed() {
		return
	}
	t.Run("unit", func(t *testing.T) {
		for _, step := range steps {
			if strings.HasSuffix(step.file, ".service") {
				text := strings.ReplaceAll(step.text, "=consul lock ", "="+consultest.Binary(t)+" lock ")
				if said, err := analyze(t, "hosts-renderer.service", text, "verify", "--man=no"); err != nil || said != "" {
					t.Errorf("systemd-analyze verify: %v\n%s", err, said)
				}
			}
		}
	})
	s.comesAndGoes("mail")
	s.oneRenders()
	s.isStopped()
}

// hostsStep is one thing that the page has one do: write a file or run a block.
type hostsStep struct {
	on   string // as its heading says
	file string // "": text is a block of commands
	text string
}

// stepsOf reads the page. A file is a block below a line that ends with its path.
func stepsOf(t *testing.T, page string) []hostsStep {
	t.Helper()
	on := regexp.MustCompile(`^## .*[,?] [oO]n (.+)$`)
	path := regexp.MustCompile("`(/[^`]+)`:$")
	copied := regexp.MustCompile("^\\| `(\\S+[.]token)` \\| (.+) \\| `(/\\S+)` \\|$")
	var all []hostsStep
	var now hostsStep
	var above, open string
	files, blocks, tokens := 0, 0, 0
	for line := range strings.Lines(page) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case open == "" && strings.HasPrefix(line, "```"):
			open, now.text, now.file = line, "", ""
			if m := path.FindStringSubmatch(above); m != nil {
				now.file = m[1]
			}
		case open != "" && line == "```":
			if now.file != "" {
				files++
			} else if open == "```sh" {
				blocks++
			}
			if (now.file != "" || open == "```sh") && now.on != "" {
				all = append(all, now)
			}
			open = ""
		case open != "":
			now.text += line + "\n"
		case strings.HasPrefix(line, "## "):
			now.on = ""
			if m := on.FindStringSubmatch(line); m != nil {
				now.on = m[1]
			}
		case copied.MatchString(line):
			m := copied.FindStringSubmatch(line)
			tokens++
			all = append(all, hostsStep{on: m[2], file: m[3], text: "token " + m[1]})
		}
		if line != "" {
			above = line
		}
	}
	if files != 5 || blocks < 10 || tokens != 4 || len(all) != files+blocks+tokens {
		t.Fatalf("the page has %d files, %d blocks of commands and %d tokens: %d steps", files, blocks, tokens, len(all))
	}
	return all
}

// comesAndGoes registers a service at the node that has the agent, and deregisters it.
func (s *hostsSite) comesAndGoes(name string) {
	s.t.Helper()
	s.sh(s.agent, "consul services register -name "+name+" -id "+name+" -address 192.0.2.99")
	s.knows(name, true)
	s.sh(s.agent, "consul services deregister -id "+name)
	s.knows(name, false)
	s.knows("db", true)
}

// oneRenders stops the server that renders: the other one takes over. It publishes no version for the
// same content, and one for new content.
func (s *hostsSite) oneRenders() {
	s.t.Helper()
	holder, other := s.holder()
	before := s.version()
	said := len(other.said("hosts-renderer"))
	begin := time.Now()
	s.sh(holder, "systemctl stop hosts-renderer")
	s.t.Logf("it is stopped after %s", time.Since(begin).Round(time.Millisecond))
	e2e.Eventually(s.t, "the other server has rendered",
		func() bool { return strings.Contains(other.said("hosts-renderer")[said:], "unchanged") })
	s.t.Logf("the other server has rendered after %s", time.Since(begin).Round(time.Millisecond))
	if now := s.version(); now != before {
		s.t.Errorf("a takeover publishes the same content: version %d, now %d", before, now)
	}
	s.comesAndGoes("news")
	s.sh(holder, "systemctl start hosts-renderer")
}

// isStopped: a change during a stop is published after the resume, without another change.
// Without RuntimeDirectory in the unit, it would never be published.
func (s *hostsSite) isStopped() {
	s.t.Helper()
	s.sh(s.own, "kvexpress stop -k hosts -r 'to try the page' --token-file operator.token")
	s.sh(s.watch, "consul services register -name late -id late -address 192.0.2.98")
	for _, server := range s.servers {
		e2e.Eventually(s.t, server.name+" is refused",
			func() bool { return strings.Contains(server.said("hosts-renderer"), "stopped") })
	}
	s.knows("late", false)
	s.sh(s.own, "kvexpress resume -k hosts --token-file operator.token")
	s.knows("late", true)
}
