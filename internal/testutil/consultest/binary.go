package consultest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

const binaryEnv = "KVEXPRESS_TEST_CONSUL"

// Binary is the path of the Consul that Start runs, for its commands. With -short
// it skips the test, but not in CI.
func Binary(t testing.TB) string {
	t.Helper()
	if testing.Short() {
		if os.Getenv("CI") != "" {
			t.Fatal("-short skips the tests that need a Consul: run all of them in CI")
		}
		t.Skip("this test needs a Consul; run it without -short")
	}
	path, err := findBinary()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// findBinary returns the path of the Consul binary: $KVEXPRESS_TEST_CONSUL, or else
// .build/bin/consul of this repository.
func findBinary() (string, error) {
	path := os.Getenv(binaryEnv)
	if path == "" {
		root, err := sourceRoot()
		if err != nil {
			return "", err
		}
		path = filepath.Join(root, ".build", "bin", "consul")
	}
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("no Consul to test with: %w; run \"make tools\" to build one, or set %s to the path of one", err,
			binaryEnv)
	}
	return path, nil
}

// sourceRoot goes up from the working folder, which is the package's for a test, to
// the top of the repository: it has more than one go.mod.
func sourceRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "scripts", "have-consul")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("no scripts/have-consul in the working folder or above it")
		}
		dir = parent
	}
}
