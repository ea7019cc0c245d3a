package consultest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"
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
	path, err := findBinary(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// findBinary returns the path of the Consul binary: $KVEXPRESS_TEST_CONSUL,
// then .build/bin/consul of this repository, then one on PATH that is new enough.
func findBinary(ctx context.Context) (string, error) {
	if path := os.Getenv(binaryEnv); path != "" {
		if _, err := os.Stat(path); err != nil {
			return "", fmt.Errorf("%s names no Consul binary: %w", binaryEnv, err)
		}
		return path, nil
	}
	root, err := sourceRoot()
	if err != nil {
		return "", err
	}
	built := filepath.Join(root, ".build", "bin", "consul")
	if _, err := os.Stat(built); err == nil {
		return built, nil
	}
	path, err := exec.LookPath("consul")
	if err == nil {
		err = checkVersion(ctx, path)
	}
	if err != nil {
		return "", fmt.Errorf("no Consul to test with: %w. Run \"make tools\" to build one into %s, or set %s to the path of one", err, built, binaryEnv)
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

// checkVersion refuses what is older than 1.14: transactions there know no
// get-or-empty.
func checkVersion(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "version").Output()
	if err != nil {
		return fmt.Errorf("%s version: %w", path, err)
	}
	return versionError(path, string(out))
}

func versionError(path, out string) error {
	m := regexp.MustCompile(`Consul v(\d+)\.(\d+)`).FindStringSubmatch(out)
	if m == nil {
		return fmt.Errorf("%s does not say its version", path)
	}
	major, majorErr := strconv.Atoi(m[1])
	minor, minorErr := strconv.Atoi(m[2])
	if err := errors.Join(majorErr, minorErr); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if major < 1 || major == 1 && minor < 14 {
		return fmt.Errorf("%s is Consul %s.%s, the tests need 1.14 or later", path, m[1], m[2])
	}
	return nil
}
