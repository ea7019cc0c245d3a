//go:build linux

package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"kvexpress/internal/outcome"
	"kvexpress/test/e2e"
)

// program is the program that uses the file of an example.
type program struct {
	needs  string // the commands without which the test is skipped, except in CI
	before string // the commands that make the machine one that has it
}

func programs() map[string]program {
	return map[string]program{
		"cron": {"cron faketime", `echo '* * * * * root echo >>/run/minutes' >/etc/cron.d/minutes
			faketime -f '+0 x300' cron -f >/run/cron.log 2>&1 &`}, // a minute takes 0.2 s
		"dnsmasq": {"dnsmasq", `mkdir -p /etc/dnsmasq.d
			echo 'ExecStart=dnsmasq --keep-in-foreground --conf-dir=/etc/dnsmasq.d' >/etc/systemd/system/dnsmasq.service`},
		"feature-flags": {"jq", ""},
		"haproxy":       {"haproxy curl", ""},
		"nginx":         {"nginx curl", "systemctl start nginx"},
		"prometheus":    {"prometheus promtool curl jq", ""},
		"script":        {"sh", ""},
		"sudoers":       {"sudo visudo", ""},
	}
}

// Each folder of examples is followed on a machine of its own: its program uses the good content, and
// goes on with it when bad content is published.
func TestExamples(t *testing.T) {
	t.Parallel()
	readmes, err := filepath.Glob("../../../examples/*/README.md")
	if err != nil {
		t.Fatal(err)
	}
	if len(readmes) < len(programs()) {
		t.Errorf("only %d examples were found", len(readmes))
	}
	for _, readme := range readmes {
		name := filepath.Base(filepath.Dir(readme))
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, known := programs()[name]
			if !known {
				t.Fatalf("add %q to programs, with the program that uses its file", name)
			}
			need(t, p.needs)
			m := newMachine(t, absolute(t, filepath.Dir(readme)))
			m.ok(p.before)
			follow(t, m)
		})
	}
}

// follow does what the README says. If a block of text is below commands, they print it.
func follow(t *testing.T, m *machine) {
	t.Helper()
	target := m.source("agent.yml")
	file := match(t, target, ` file: (\S+)`)
	mode, err := strconv.ParseUint(match(t, target, ` mode: "(\d+)"`), 8, 32)
	if err != nil {
		t.Fatal(err)
	}
	readme := m.source("README.md")
	good := m.source(match(t, readme, `kvexpress in .* -f (\S+)`))
	uses := func() {} // the program uses the good content
	refused := 0
	for _, block := range regexp.MustCompile("(?s)```sh\n(.*?)```\n(?:\n```text\n(.*?)```\n)?").FindAllStringSubmatch(readme, -1) {
		if commands, want := block[1], block[2]; want != "" {
			uses = func() {
				t.Helper()
				said := ""
				defer func() {
					if said != want {
						t.Logf("%s\nprinted last\n%s", commands, said)
					}
				}()
				e2e.Eventually(t, "the program uses the file", func() bool {
					said, _ = m.sh(commands)
					return said == want
				})
			}
			uses()
			continue
		}
		m.ok(block[1])
		if !strings.Contains(block[1], "kvexpress in ") && !strings.Contains(block[1], "kvexpress rollback ") {
			continue
		}
		if strings.Contains(block[1], " -f bad") {
			e2e.Eventually(t, "the check refuses it", func() bool { return m.outcome() == outcome.Refused })
			refused++
		}
		if now := m.read(file); now != good {
			t.Errorf("after\n%s\n%s holds %s", block[1], file, e2e.Brief(now))
		}
		if now := e2e.Stat(t, m.root(file)).Mode(); now != os.FileMode(mode) {
			t.Errorf("%s has mode %v", file, now)
		}
		if refused > 0 {
			uses()
		}
	}
	if now := m.outcome(); refused != 1 || now != outcome.Converged {
		t.Errorf("%d bad contents were refused, and at the end the target is %s", refused, now)
	}
	goesWrong(t, m, file, uses)
}

func absolute(t *testing.T, path string) string {
	t.Helper()
	all, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func match(t *testing.T, text, pattern string) string {
	t.Helper()
	found := regexp.MustCompile(pattern).FindStringSubmatch(text)
	if found == nil {
		t.Fatalf("there is no %s in\n%s", pattern, text)
	}
	return found[1]
}
