//go:build linux

package docs

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"kvexpress/internal/config"
	"kvexpress/test/e2e"
)

// need skips the test if one of the commands is missing, except in CI.
func need(t *testing.T, commands string) {
	t.Helper()
	for _, command := range strings.Fields(commands) {
		if _, err := exec.LookPath(command); err != nil && os.Getenv("CI") == "" {
			t.Skip(err)
		}
	}
}

// ansible-lint finds nothing in the playbook and the role, with its strictest rules.
func TestAnsibleLint(t *testing.T) {
	t.Parallel()
	need(t, "ansible-lint")
	cmd := exec.CommandContext(t.Context(), "ansible-lint", "--offline", "--strict", "--profile=production", "--nocolor", "site.yml")
	cmd.Dir = repository + "/deploy/ansible"
	cmd.Env = append(os.Environ(), "ANSIBLE_HOME="+t.TempDir(), "XDG_CACHE_HOME="+t.TempDir())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// The commands of deploy/README.md run the role on a machine without systemd: it changes nothing the second time, the agent obeys its agent.yml, and a
// bad one is not installed.
func TestAnsibleRole(t *testing.T) {
	t.Parallel()
	need(t, "ansible-playbook")
	m := newMachine(t, "/root")
	m.ok("ln -s " + absolute(t, repository+"/deploy") + " " + absolute(t, repository+"/systemd") + " .; echo web-1 ansible_connection=local >inventory")
	// The program of the machine is a mount, which the role cannot replace.
	m.ok("mkdir -p .build/bin && cp /usr/local/bin/kvexpress .build/bin/ && umount -l /usr/local/bin/kvexpress")
	play := "export ANSIBLE_NOCOLOR=1\n" + strings.TrimSpace(strings.Join(marked(t, "deploy/README.md"), "")) + " -e kvexpress_agent_service=false "
	m.ok(play)
	if out, err := m.sh(play); err != nil || !strings.Contains(out, " changed=0 ") {
		t.Errorf("the second run: %v\n%s", err, out)
	}
	before := m.read("/etc/kvexpress/agent.yml")
	if out, err := m.sh(play + `-e '{"kvexpress_agent_config": {"targets": [{"key": "motd"}]}}'`); err == nil || !strings.Contains(out, "the target has no file") {
		t.Errorf("a target without a file: %v\n%s", err, out)
	}
	if now := m.read("/etc/kvexpress/agent.yml"); now != before {
		t.Errorf("it is installed all the same:\n%s", now)
	}
	m.ok("systemctl restart kvexpress-agent; echo hello | kvexpress in -k motd -f - -l 1")
	e2e.Eventually(t, "the agent installs the file", func() bool {
		out, _ := m.sh("cat /etc/motd")
		return out == "hello\n"
	})
}

// The user data are valid, and so is the agent.yml in them.
func TestCloudInit(t *testing.T) {
	t.Parallel()
	path := absolute(t, repository+"/deploy/cloud-init/agent.yml")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var data struct {
		Files []struct{ Path, Content string } `yaml:"write_files"`
	}
	if err := yaml.Unmarshal(b, &data); err != nil || len(data.Files) != 1 {
		t.Fatalf("%v: %v", data, err)
	}
	agent := filepath.Join(t.TempDir(), "agent.yml")
	if err := os.WriteFile(agent, []byte(data.Files[0].Content), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := config.Load(agent, config.Env{Getenv: os.Getenv, Hostname: "web-17"}); err != nil {
		t.Error(err)
	}
	need(t, "cloud-init")
	if out, err := exec.CommandContext(t.Context(), "cloud-init", "schema", "--config-file", path).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
