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
	if err := os.WriteFile(typed, []byte("#!/bin/sh\necho correct horse\n"), 0o700); err != nil {
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
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	answer, err := client.Get(server.URL + "/v2/kvexpress/manifests/" + tagged)
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
