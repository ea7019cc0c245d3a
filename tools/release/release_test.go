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

// tagged is the version of the documents, whose commands make a release in a clone.
const tagged = "2.0.0"

// A release by the commands of docs/releasing.md, with a key that they make: it is complete and verified, in two clones its files
// are the same, and a change to one of them is noticed. The commands of docs/install.md build, verify and push it.
func TestRelease(t *testing.T) {
	t.Parallel()
	releasing, install := marked(t, "docs/releasing.md"), marked(t, "docs/install.md")
	if len(releasing) != 2 || len(install) != 3 {
		t.Fatalf("there are %d and %d blocks", len(releasing), len(install))
	}
	env := releaser(t)
	one := clone(t, "one")
	for _, i := range []int{1, 0} { // first the key
		follow(t, one, releasing[i], env...)
	}
	files := filepath.Join(one, ".build/release", tagged)
	key := filepath.Join(strings.TrimPrefix(env[0], "HOME="), ".ssh/kvexpress-release")

	t.Run("as a user verifies it", func(t *testing.T) {
		dir := t.TempDir()
		run(t, "cp", "-r", files+"/.", dir)
		if err := os.WriteFile(filepath.Join(dir, "release.signers"), append([]byte("kvexpress "), bytesOf(t, key+".pub")...), 0o600); err != nil {
			t.Fatal(err)
		}
		follow(t, dir, install[1])
	})
	t.Run("image", func(t *testing.T) { imageRuns(t, imagePath(files, tagged)) })
	t.Run("registry", func(t *testing.T) { pushed(t, files, install[2]) })
	t.Run("two clones", func(t *testing.T) { sameBytes(t, one, install[0], env) })
	t.Run("changed", func(t *testing.T) { changesAreNoticed(t, files, key) })
}

// A release of an untagged commit, and one without a key, are refused before anything is built.
func TestReleaseIsRefused(t *testing.T) {
	t.Parallel()
	key, whole, edited := newKey(t), clone(t, "whole"), clone(t, "edited")
	for _, dir := range []string{whole, edited} {
		run(t, "git", "-C", dir, "tag", "v"+tagged)
	}
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

// clone is a clone of this repository, without its tags.
func clone(t *testing.T, name string) string {
	t.Helper()
	if _, err := os.Stat("../../.git"); err != nil {
		t.Skip("this is no clone with git")
	}
	dir := filepath.Join(t.TempDir(), name)
	run(t, "git", "clone", "-q", "--no-tags", "../..", dir)
	return dir
}

// sameBytes builds packages in a second clone, as docs/install.md says, and compares them. In the soak, it makes the whole release
// there, with a build cache of its own.
func sameBytes(t *testing.T, one, build string, env []string) {
	two := clone(t, "a longer path/two")
	if os.Getenv("KVEXPRESS_SOAK") != "" {
		env = append(env, "GOCACHE="+t.TempDir())
		build += "make release VERSION=" + tagged + ` KEY="$HOME/.ssh/kvexpress-release"`
	}
	follow(t, two, build, env...)
	if os.Getenv("KVEXPRESS_SOAK") != "" {
		run(t, "diff", "-r", filepath.Join(one, ".build/release"), filepath.Join(two, ".build/release"))
	}
	for _, dir := range []string{"packages", "bin"} {
		run(t, "diff", "-r", filepath.Join(one, ".build", dir), filepath.Join(two, ".build", dir))
	}
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
	other := newKey(t) // without a passphrase
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
			if err := sign(dir, other); err != nil {
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
		"no deb":              {signed(func(dir string) { run(t, "sh", "-c", "rm "+dir+"/*arm64.deb") }), other, "*.deb"},
		"a module less":       {signed(change(sbom, "github.com/spf13/pflag", "github.com/spf13/other")), other, "lack the module github.com/spf13/pflag"},
		"a script less":       {signed(change(sbom, `"uplot"`, `"other"`)), other, "lack the module uplot"},
		"a licence less":      {signed(change(thirdParty, "github.com/spf13/pflag v", "")), other, "lack the module github.com/spf13/pflag"},
		"version of the SBOM": {signed(change(sbom, tagged, "1.0.0")), other, "does not describe version"},
	} {
		if os.Getenv("KVEXPRESS_SOAK") == "" && !slices.Contains([]string{"nothing", "a byte", "a module less", "a script less"}, name) {
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
