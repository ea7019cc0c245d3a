package config

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/install"
	"kvexpress/internal/kv"
)

// Whatever the files hold, the answer is a configuration in which everything is
// good, or an error of few, printable lines that name the place of the mistake.
func FuzzLoad(f *testing.F) {
	for _, s := range []string{
		example, "", "targets: []", "targets:\n- {key: hosts, file: /etc/x}\n",
		"vars: {role: web}\ntargets:\n- key: '{role}/{node}'\n  file: \"/etc/{role}\"\n  mode: 644\n",
		"targets:\n  - key: a//b\n    mod: 0644\n    min-lines: [1]\n  - file: etc\n",
		"a: &a [*a]\n", "<<: x\n", "--- \na: b\n...\n", "a: |\n  b\n\nc: >-\n  d\n  e\n", "a: \"\\x00\n", strings.Repeat("[", 50),
		"\t- a", "? a\n: b\n",
		"targets:\n- key: x\r\n  file: \"/a\r\n    b\"\r\n",
	} {
		f.Add([]byte(s), []byte("targets:\n- key: other\n  file: /etc/other\n"))
		f.Add([]byte("targets: []"), []byte(s))
	}
	dir := folder(f, map[string]string{"agent.yml": "", "conf.d/one.yml": ""})
	main, fragment := filepath.Join(dir, "agent.yml"), filepath.Join(dir, "conf.d", "one.yml")
	line := regexp.MustCompile(`^(` + regexp.QuoteMeta(main) + `|` + regexp.QuoteMeta(fragment) + `)(:[1-9][0-9]*)?: [[:print:]]+$`)
	f.Fuzz(func(t *testing.T, text, more []byte) {
		for path, b := range map[string][]byte{main: text, fragment: more} {
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		c, err := Load(main, env())
		if err == nil {
			checkGood(t, c)
			return
		}
		var all *Error
		if !errors.As(err, &all) || len(c.Targets) > 0 {
			t.Fatalf("got %v with %d targets", err, len(c.Targets))
		}
		lines := strings.Split(err.Error(), "\n")
		if len(lines) > maxShown+1 {
			t.Errorf("the message has %d lines", len(lines))
		}
		for i, one := range lines {
			if i == maxShown && strings.HasPrefix(one, "and ") {
				continue
			}
			if !line.MatchString(one) || len(one) > 1000 {
				t.Errorf("this is not a line that tells where: %q", one)
			}
		}
	})
}

// checkGood is what the agent relies on.
func checkGood(t *testing.T, c Config) {
	t.Helper()
	_, err := kv.NewLayout(c.Layout.Prefix())
	if err != nil || len(c.Store.Addrs) == 0 || c.Node == "" || strings.Contains(c.Node, "/") || !filepath.IsAbs(c.StateDir) ||
		len(c.Files) == 0 || c.Reconcile < minReconcile || c.Reconcile > longest {
		t.Errorf("not a configuration: %+v: %v", c, err)
	}
	seen := map[string]bool{}
	for _, target := range c.Targets {
		if key, err := kv.ParseKey(string(target.Key)); err != nil || key != target.Key {
			t.Errorf("the key is %q: %v", target.Key, err)
		}
		if !filepath.IsAbs(target.File) || filepath.Clean(target.File) != target.File || target.File == "/" || seen[target.File] {
			t.Errorf("the file is %q, once before: %t", target.File, seen[target.File])
		}
		seen[target.File] = true
		if target.Check != nil && install.ParseCheck(target.Check) != nil || target.Exec != nil && target.Exec[0] == "" ||
			target.MinLines < 0 || target.At == "" {
			t.Errorf("not a target: %+v", target)
		}
		for _, d := range []time.Duration{target.Spread, target.CheckTimeout - minTimeout, target.ExecTimeout - minTimeout} {
			if d < 0 || d > longest {
				t.Errorf("not a target: %+v", target)
			}
		}
	}
}
