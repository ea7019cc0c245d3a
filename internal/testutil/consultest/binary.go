package consultest

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
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
	if runtime.GOOS != "linux" {
		t.Skip("this test needs Linux: each Consul has an address of its own in 127.0.0.0/8")
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
		_, here, _, _ := runtime.Caller(0)
		path = filepath.Join(filepath.Dir(here), "../../../.build/bin/consul")
	}
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("no Consul to test with: %w; run \"make tools\" to build one, or set %s to the path of one", err,
			binaryEnv)
	}
	return path, nil
}
