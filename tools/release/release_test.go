package main

import (
	"bytes"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
)

const tagged = "9.8.7"

// A release is complete and verified, in two clones its files are the same, and a change to one of them is noticed.
func TestRelease(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	one := clone(t, "one")
	run(t, "env", "-C", one, "GOFLAGS=", "scripts/release", tagged, key)
	files := filepath.Join(one, ".build/release", tagged)

	t.Run("as a user verifies it", func(t *testing.T) {
		public, err := os.ReadFile(key + ".pub")
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		run(t, "cp", "-r", files+"/.", dir)
		if err := os.WriteFile(filepath.Join(dir, "release.signers"), append([]byte("kvexpress "), public...), 0o600); err != nil {
			t.Fatal(err)
		}
		_, commands, _ := strings.Cut(string(bytesOf(t, "../../docs/install.md")), "\n## Verify a download\n\n```sh\n")
		commands, _, found := strings.Cut(commands, "```")
		if !found || run(t, "env", "-C", dir, "sh", "-ec", commands) == "" {
			t.Error("docs/install.md does not verify a download")
		}
	})
	t.Run("image", func(t *testing.T) { imageRuns(t, imagePath(files, tagged)) })
	t.Run("two clones", func(t *testing.T) { sameBytes(t, one, key) })
	t.Run("changed", func(t *testing.T) { changesAreNoticed(t, files, key) })
}

// A release of an untagged commit, and one without a key, are refused before anything is built.
func TestReleaseIsRefused(t *testing.T) {
	t.Parallel()
	key, whole, edited := newKey(t), clone(t, "whole"), clone(t, "edited")
	if err := os.WriteFile(filepath.Join(edited, "README.md"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ dir, version, key, remedy string }{
		"another version": {whole, "9.8.6", key, "git tag v"},
		"no version":      {whole, "", key, "git tag v"},
		"no key":          {whole, tagged, "", "ssh-keygen -t ed25519"},
		"edited file":     {edited, tagged, key, "commit all changes"},
	} {
		cmd := exec.CommandContext(t.Context(), "make", "-C", c.dir, "release", "VERSION="+c.version, "KEY="+c.key)
		if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), c.remedy) {
			t.Errorf("%s: %v, and it does not say %q: %s", name, err, c.remedy, out)
		}
		if _, err := os.Stat(filepath.Join(c.dir, ".build")); err == nil {
			t.Errorf("%s: something was built", name)
		}
	}
}

func newKey(t *testing.T) string {
	t.Helper()
	key := filepath.Join(t.TempDir(), "key")
	run(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
	return key
}

// clone is a clone of this repository, with a tag.
func clone(t *testing.T, name string) string {
	t.Helper()
	if _, err := os.Stat("../../.git"); err != nil {
		t.Skip("this is no clone with git")
	}
	dir := filepath.Join(t.TempDir(), name)
	run(t, "git", "clone", "-q", "--no-tags", "../..", dir)
	run(t, "git", "-C", dir, "tag", "v"+tagged)
	return dir
}

// sameBytes makes the release in a second clone, with a build cache of its own, and compares all files. Without the soak, it
// compares the program of this machine.
func sameBytes(t *testing.T, one, key string) {
	two := clone(t, "a longer path/two")
	if os.Getenv("KVEXPRESS_SOAK") == "" {
		path := ".build/cross/kvexpress-linux-" + runtime.GOARCH
		run(t, "env", "-C", two, "GOFLAGS=", "scripts/build", path)
		if !bytes.Equal(bytesOf(t, filepath.Join(one, path)), bytesOf(t, filepath.Join(two, path))) {
			t.Error("two clones build different programs")
		}
		return
	}
	run(t, "env", "-C", two, "GOFLAGS=", "GOCACHE="+t.TempDir(), "scripts/release", tagged, key)
	run(t, "diff", "-r", filepath.Join(one, ".build/release"), filepath.Join(two, ".build/release"))
}

// imageRuns runs the program of the image as its user, in a root that has nothing else.
func imageRuns(t *testing.T, path string) {
	if os.Getuid() != 0 {
		t.Skip("chroot needs root")
	}
	dir := filepath.Join(t.TempDir(), "root")
	config, err := unpackImage(path, runtime.GOARCH, dir)
	if err != nil {
		t.Fatal(err)
	}
	c := config.Config
	if c.User != "65532:65532" || len(c.Entrypoint) != 1 || c.Labels["org.opencontainers.image.version"] != tagged ||
		config.Architecture != runtime.GOARCH || config.OS != "linux" {
		t.Errorf("the image is for %s/%s and runs with %+v", config.OS, config.Architecture, c)
	}
	if err := os.Chmod(dir, 0o755); err != nil { // tar has made it
		t.Fatal(err)
	}
	inside := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), c.Entrypoint[0], args...)
		cmd.Path, cmd.Err = c.Entrypoint[0], nil // in the root
		cmd.Env, cmd.Dir = c.Env, "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: dir, Credential: &syscall.Credential{Uid: nonroot, Gid: nonroot}}
		return runCmd(t, cmd)
	}
	if got := inside("version"); !strings.HasPrefix(got, "Version  : "+tagged+"\n") {
		t.Errorf("version: %s", got)
	}
	state, err := os.Stat(filepath.Join(dir, "var/lib/kvexpress"))
	if err != nil {
		t.Fatal(err)
	}
	if owner, ok := state.Sys().(*syscall.Stat_t); !ok || owner.Uid != nonroot {
		t.Errorf("the state folder is not the user's: %+v", state.Sys())
	}
	programs := run(t, "find", dir, "-type", "f", "-perm", "/111")
	if programs != filepath.Join(dir, "usr/bin/kvexpress")+"\n" {
		t.Errorf("the image has these programs: %s", programs)
	}
	block, _ := pem.Decode(bytesOf(t, filepath.Join(dir, "etc/ssl/certs/ca-certificates.crt")))
	if block == nil || block.Type != "CERTIFICATE" {
		t.Error("the image has no certificates of authorities")
	}
}

func changesAreNoticed(t *testing.T, files, key string) {
	change := func(name, old, replacement string) func(dir string) {
		return func(dir string) {
			path := filepath.Join(dir, name)
			b := bytesOf(t, path)
			if old == "" {
				b = append(b, replacement...)
			} else if !bytes.Contains(b, []byte(old)) {
				t.Fatalf("%s does not contain %q", name, old)
			} else {
				b = bytes.ReplaceAll(b, []byte(old), []byte(replacement))
			}
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	signed := func(change func(string)) func(string) {
		return func(dir string) {
			change(dir)
			if err := os.Remove(filepath.Join(dir, signature)); err != nil {
				t.Fatal(err)
			}
			if err := sign(dir, key); err != nil {
				t.Fatal(err)
			}
		}
	}
	sbom := filepath.Base(sbomPath("", tagged))
	for name, c := range map[string]struct {
		change func(dir string)
		key    string
		says   string
	}{
		"nothing":             {func(string) {}, key, ""},
		"a byte":              {change(sbom, "", " "), key, "checksums"},
		"one more file":       {func(dir string) { run(t, "touch", filepath.Join(dir, "extra")) }, key, "checksums"},
		"checksums":           {change(sums, "", "x\n"), key, "verify"},
		"another key":         {func(string) {}, newKey(t), "verify"},
		"no deb":              {signed(func(dir string) { run(t, "sh", "-c", "rm "+dir+"/*arm64.deb") }), key, "*.deb"},
		"a module less":       {signed(change(sbom, "github.com/spf13/pflag", "github.com/spf13/other")), key, "lack the module github.com/spf13/pflag"},
		"a licence less":      {signed(change(thirdParty, "github.com/spf13/pflag v", "")), key, "lack the module github.com/spf13/pflag"},
		"version of the SBOM": {signed(change(sbom, tagged, "1.0.0")), key, "does not describe version"},
	} {
		if os.Getenv("KVEXPRESS_SOAK") == "" && !slices.Contains([]string{"nothing", "a byte", "a module less"}, name) {
			continue // each takes seconds with the race detector
		}
		dir := t.TempDir()
		run(t, "cp", "-r", files+"/.", dir)
		c.change(dir)
		err := verify(dir, tagged, c.key)
		if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
}

// A module with a licence that is not allowed, or with none, stops the release.
func TestLicences(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ file, text, says string }{
		"none":   {"README", "All rights reserved.", "no licence"},
		"GPL":    {"COPYING", "SPDX-License-Identifier: GPL-3.0-only", "licence"},
		"nested": {"sub/LICENSE", "SPDX-License-Identifier: MIT", "no licence"},
	} {
		dir := t.TempDir()
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(c.file)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, c.file), []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		m := module{Path: "example.com/module"}
		if err := m.readLicences(dir); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
}
