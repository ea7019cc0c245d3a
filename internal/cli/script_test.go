package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"kvexpress/internal/kv"
)

const scripts = "testdata/script"

// TestScripts runs the specification of the command line: every script in
// testdata/script, each with a prefix of its own in one store: a real Consul, or with
// -short an embedded one. That has ACLs on, so that every run of every script carries
// a token, which must not show anywhere.
func TestScripts(t *testing.T) {
	store := newScriptStore(t)
	seen := newSightings()
	// A group of its own: it returns when the last of the scripts has, which run
	// in parallel.
	t.Run("script", func(t *testing.T) {
		testscript.Run(t, testscript.Params{
			Dir:                 scripts,
			Setup:               func(env *testscript.Env) error { return setup(env, store, seen) },
			Cmds:                scriptCommands(),
			Condition:           condition,
			RequireExplicitExec: true,
			RequireUniqueNames:  true,
		})
	})
	if t.Failed() {
		return
	}
	t.Run("contract", func(t *testing.T) { checkContract(t, seen) })
}

// The values that setup passes to the commands of a script.
type (
	storeKey  struct{}
	seenKey   struct{}
	statsdKey struct{}
)

func setup(env *testscript.Env, store *scriptStore, seen *sightings) error {
	env.Values[storeKey{}] = store
	env.Values[seenKey{}] = seen
	env.Values[statsdKey{}] = &statsdServer{}
	seen.opened(strings.TrimPrefix(filepath.Base(env.WorkDir), "script-"))
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	work := env.WorkDir
	for name, value := range map[string]string{
		"HOME":           work + "/.home",
		"XDG_STATE_HOME": work + "/.xdg",
		envState:         work + "/.state",
		"HOST":           host,
		"TZ":             "UTC",

		"PREFIX":            "t-" + kv.NewID()[:12],
		"CONSUL_HTTP_ADDR":  store.addr,
		"CONSUL_HTTP_TOKEN": store.token,
		"NOWHERE":           "127.0.0.1:1", // refuses every connection

		"KVEXPRESS_SYSLOG":       "off",
		"KVEXPRESS_DATADOG_CONF": "/nonexistent",
	} {
		env.Setenv(name, value)
	}
	if env.Getenv("GORACE") == "" { // else a program with the race detector ends a second late
		env.Setenv("GORACE", "atexit_sleep_ms=0")
	}
	if err := os.Mkdir(work+"/.home", 0o700); err != nil {
		return err
	}
	// What scripts publish that bring no other.
	for name, text := range map[string]string{"v1": "one\n", "v2": "two\n", "v3": "three\n"} {
		if _, err := os.Lstat(filepath.Join(work, name)); err == nil {
			continue
		}
		if err := os.WriteFile(filepath.Join(work, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// condition adds [root] to testscript's own conditions.
func condition(name string) (bool, error) {
	if name != "root" {
		return false, fmt.Errorf("unknown condition %q", name)
	}
	root := os.Geteuid() == 0
	if !root && os.Getenv("CI") != "" {
		return false, fmt.Errorf("the tests need root in CI")
	}
	return root, nil
}
