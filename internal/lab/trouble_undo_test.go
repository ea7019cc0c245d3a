//go:build linux

package lab_test

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/lab"
)

// A bad version is out, and an operator undoes it as docs/undo.md has it.
func TestABadVersionIsUndone(t *testing.T) {
	t.Parallel()
	s := fleet(t, lab.Options{Servers: 3, Nodes: 10, Services: 60})
	good := changeOne(t, s, s.Services[0], true)
	arrived(t, s, s.Nodes...)
	bad := publishBad(t, s)
	arrived(t, s, s.Nodes...) // it is in DNS everywhere

	began, commands := time.Now(), 0
	run := func(role lab.Role, args ...string) string {
		out, err := s.Kvexpress(t.Context(), role, args...)
		commands++
		t.Logf("%5.2f s  kvexpress %s", time.Since(began).Seconds(), strings.Join(args, " "))
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	run(lab.Operator, "stop", "-k", lab.Key, "-r", "wrong addresses since tonight")
	run(lab.Operator, "status", "-k", lab.Key)
	run(lab.Publisher, "history", "-k", lab.Key)
	if out := run(lab.Publisher, "diff", "-k", lab.Key); !strings.Contains(out, wrong().String()) {
		t.Errorf("diff does not show what is wrong: %s", out)
	}
	run(lab.Publisher, "rollback", "-k", lab.Key, "--ignore-stop", "-l", "30", "-m", "wrong addresses")
	eventually(t, "the good version", func() error {
		if v := last(s); v.SHA256 != good.SHA256 || v.Number <= bad.Number {
			return fmt.Errorf("version %d stands", v.Number)
		}
		return nil
	})
	// Until the resume nobody has it.
	for _, n := range s.Nodes {
		if answer, err := n.Ask(t.Context(), s.Services[9].Name); err != nil || answer.Addrs[0] != wrong() {
			t.Errorf("%s is stopped, and says %+v, %v", n.Name, answer, err)
		}
	}
	run(lab.Operator, "resume", "-k", lab.Key)
	var watches []*lab.Node
	for _, n := range s.Nodes {
		if n.Mode == lab.Agent {
			arrived(t, s, n)
		} else {
			watches = append(watches, n)
		}
	}
	t.Logf("%5.2f s  all agents have it", time.Since(began).Seconds())
	for _, n := range watches {
		// It waits for somebody, unless Consul has lost its leader: then it asks anew.
		answer, err := n.Ask(t.Context(), s.Services[9].Name)
		t.Logf("%s has a watch, and says %+v, %v, before anybody ran kvexpress out", n.Name, answer, err)
		if err := n.RunOut(t.Context()); err != nil {
			t.Fatal(err)
		}
		commands++
	}
	t.Logf("%5.2f s  kvexpress out was run on %d nodes with watches", time.Since(began).Seconds(), len(watches))
	out := run(lab.Operator, "status", "-k", lab.Key, "--wait", "100%", "--timeout", "30s")
	arrived(t, s, s.Nodes...)
	t.Logf("%5.2f s  all nodes answer right, after %d commands\n%s", time.Since(began).Seconds(), commands, out)
	final(t, s)
}

// wrong is the address of everything in a bad version.
func wrong() netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, 1}) }

// publishBad publishes the last version with a wrong address for each name.
func publishBad(t *testing.T, s *lab.Scene) lab.Published {
	t.Helper()
	var text strings.Builder
	text.WriteString("127.0.0.1 localhost\n")
	for _, service := range s.Services {
		fmt.Fprintf(&text, "%s %s\n", wrong(), lab.FQDN(service.Name))
	}
	path := filepath.Join(t.TempDir(), "hosts")
	if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	before := last(s)
	if _, err := s.Kvexpress(t.Context(), lab.Publisher, "in", "-k", lab.Key, "-f", path, "-l", "30", "--sorted"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the bad version", func() error {
		if v := last(s); v.Number == before.Number || v.Hosts[lab.FQDN(s.Services[0].Name)] != wrong() {
			return fmt.Errorf("version %d stands", v.Number)
		}
		return nil
	})
	return last(s)
}
