package main

import (
	"crypto/tls"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
)

// marked are the blocks of a document that this test must run: <!-- run by TestX --> is above them.
func marked(t *testing.T, file string) (blocks []string) {
	t.Helper()
	pattern := regexp.MustCompile("(?s)<!-- run by " + t.Name() + " -->\n```sh\n(.*?)```")
	for _, found := range pattern.FindAllStringSubmatch(string(bytesOf(t, "../../"+file)), -1) {
		blocks = append(blocks, found[1])
	}
	return blocks
}

// follow runs a block of a document in a folder.
func follow(t *testing.T, dir, block string, env ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-e", "-c", block)
	cmd.Dir = dir
	cmd.Env = append(append(os.Environ(), "GOFLAGS=", "MAKEFLAGS="), env...)
	runCmd(t, cmd)
}

// releaser is the environment of a person who makes a release: with a home of its own, Go's usual folders, and a program that
// types the passphrase of the key.
func releaser(t *testing.T) []string {
	t.Helper()
	home := t.TempDir()
	if err := os.Mkdir(filepath.Join(home, ".ssh"), 0o700); err != nil {
		t.Fatal(err)
	}
	typed := filepath.Join(home, "passphrase")
	if err := os.WriteFile(typed, []byte("#!/bin/sh\necho correct horse\n"), 0o700); err != nil { //nolint:gosec // it is run
		t.Fatal(err)
	}
	env := []string{"HOME=" + home, "SSH_ASKPASS=" + typed, "SSH_ASKPASS_REQUIRE=force"}
	names := []string{"GOPATH", "GOCACHE", "GOMODCACHE", "GOENV"}
	for i, folder := range strings.Split(strings.TrimSpace(run(t, "go", append([]string{"env"}, names...)...)), "\n") {
		env = append(env, names[i]+"="+folder)
	}
	return env
}

// pushed runs the command that pushes the image, to a registry of the test, which has both architectures then.
func pushed(t *testing.T, dir, block string) {
	need(t, "skopeo")
	server := httptest.NewTLSServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	authority := filepath.Join(t.TempDir(), "ca.pem")
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(authority, certificate, 0o600); err != nil {
		t.Fatal(err)
	}
	addr := server.Listener.Addr().String()
	follow(t, dir, strings.ReplaceAll(block, "registry.example", addr), "SSL_CERT_FILE="+authority)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} //nolint:gosec // ours
	answer, err := client.Get(server.URL + "/v2/kvexpress/manifests/" + tagged)                                //nolint:noctx // a test
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	for _, arch := range []string{"amd64", "arm64"} {
		if !strings.Contains(string(b), `"architecture":"`+arch+`"`) {
			t.Errorf("the registry has no image for %s, but (%v)\n%s", arch, err, b)
		}
	}
}

// The README's commands install the package of each format, with the names that packages have. dpkg, rpm and tar install into a
// folder here, and tar unpacks the apk, for which Debian has no program.
func TestPackagesOfReadme(t *testing.T) {
	t.Parallel()
	if runtime.GOARCH != "amd64" {
		t.Skip("the README names the packages for amd64")
	}
	blocks := marked(t, "README.md")
	if len(blocks) != 1 {
		t.Fatalf("the README has %d blocks", len(blocks))
	}
	dir := t.TempDir()
	run(t, "sh", "-c", `cp "$0" "$1" "$2"`, packedFile(t, "*_2.0.0_*.deb"), packedFile(t, "*-2.0.0-*.rpm"), dir)
	if _, err := writePackage(dir, "apk", runtime.GOARCH, newVersion, packedAt, packedFiles(newVersion)); err != nil {
		t.Fatal(err)
	}
	if _, err := writeArchive(dir, runtime.GOARCH, newVersion, packedAt, packedFiles(newVersion)); err != nil {
		t.Fatal(err)
	}
	programs := t.TempDir()
	for name, script := range map[string]string{
		"apt-get": `[ "$1" = install ] && exec dpkg --root="$ROOT" --install "$2"`,
		"rpm":     `exec ` + need(t, "rpm") + ` --root="$ROOT" "$@"`,
		"apk":     `[ "$1 $2" = "add --allow-untrusted" ] && exec ` + need(t, "tar") + ` -C "$ROOT" -xzf "$3"`,
		"tar":     `[ "$1 $2" = "-C /usr/local" ] && shift 2 && exec ` + need(t, "tar") + ` -C "$ROOT/usr/local" "$@"`,
	} {
		if err := os.WriteFile(filepath.Join(programs, name), []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil { //nolint:gosec // it is run
			t.Fatal(err)
		}
	}
	lines := strings.Split(strings.TrimSpace(blocks[0]), "\n")
	for _, line := range lines {
		r := newRoot(t)
		run(t, "mkdir", "-p", r.path("usr/local"))
		follow(t, dir, line, "ROOT="+r.dir, "PATH="+programs+":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
		runs(r, newVersion)
	}
	if len(lines) != 4 {
		t.Errorf("the README has %d commands, want one for each format", len(lines))
	}
}
