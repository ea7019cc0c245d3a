package docs

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"kvexpress/test/e2e"
)

// units are our units by the name under which systemd would run them.
func units() map[string]string {
	return map[string]string{
		"kvexpress-agent.service":     "kvexpress-agent.service",
		"kvexpress-agent@web.service": "kvexpress-agent@.service",
		"kvexpress-hub.service":       "kvexpress-hub.service",
	}
}

// systemd reads our units without a warning, and rates them as well protected.
func TestUnits(t *testing.T) {
	t.Parallel()
	for name, file := range units() {
		t.Run(file, func(t *testing.T) {
			text := unit(t, file)
			if said, err := analyze(t, name, text, "verify", "--man=no"); err != nil || said != "" {
				t.Errorf("systemd-analyze verify: %v\n%s", err, said)
			}
			// In tenths of what systemd-analyze prints; 100 is no protection at all.
			threshold := "--threshold=30"
			if file == "kvexpress-hub.service" { // it runs no commands of others
				threshold = "--threshold=15"
			}
			if said, err := analyze(t, name, text, "security", "--offline=yes", threshold); err != nil {
				t.Errorf("it is too open: %v\n%s", err, said)
			}
			// The controls: both find a mistake.
			if said, err := analyze(t, name, strings.Replace(text, "\nType=notify\n", "\nType=notfy\n", 1), "verify",
				"--man=no"); err == nil && said == "" {
				t.Error("systemd-analyze verify takes a type that does not exist")
			}
			if _, err := analyze(t, name, strings.Replace(text, "\nCapabilityBoundingSet=", "\nX-None=", 1), "security", "--offline=yes",
				threshold); err == nil {
				t.Error("systemd-analyze security does not miss the bounding set")
			}
		})
	}
}

func unit(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("../../../systemd", file))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// analyze runs systemd-analyze on a unit of this name, for the program under test, and
// returns all that it says.
func analyze(t *testing.T, name, text string, args ...string) (string, error) {
	t.Helper()
	if e2e.Program.Err != nil {
		t.Fatal(e2e.Program.Err)
	}
	path := filepath.Join(t.TempDir(), name)
	for _, command := range []string{"agent", "hub"} {
		text = strings.ReplaceAll(text, "=kvexpress "+command+" ", "="+e2e.Program.Path+" "+command+" ")
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), e2e.RunTime)
	defer cancel()
	out, err := exec.CommandContext(ctx, "systemd-analyze", append(args, path)...).CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip("there is no systemd-analyze")
	}
	return string(out), err
}

// Every line of a unit has a comment of its own, right above it, that says why.
func TestUnitsAreExplained(t *testing.T) {
	t.Parallel()
	directive := regexp.MustCompile(`^[A-Z][A-Za-z]*=`)
	for _, file := range units() {
		above, found := "", 0
		for i, line := range strings.Split(unit(t, file), "\n") {
			if directive.MatchString(line) {
				found++
				if !strings.HasPrefix(above, "# ") {
					t.Errorf("%s:%d: nothing explains %s", file, i+1, line)
				}
			} else if line != "" && line[0] != '#' && line[0] != '[' {
				t.Errorf("%s:%d: what is this? %s", file, i+1, line)
			}
			above = line
		}
		if found < 20 {
			t.Errorf("%s: only %d directives were found", file, found)
		}
	}
}
