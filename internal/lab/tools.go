//go:build linux

package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// buildTime is for building kvexpress.
const buildTime = 5 * time.Minute

// Tools are the programs that a lab is made of, by their paths.
type Tools struct {
	Consul, ConsulTemplate, Dnsmasq, Unshare, Setpriv string
	Kvexpress                                         string // "": built from the source
}

// FindTools looks for the programs: in .build/bin of the source tree that root is in,
// then on PATH. What is missing is an error that tells how to get it.
func FindTools(root string) (Tools, error) {
	var t Tools
	var errs []error
	find := func(path *string, name, remedy string) {
		built := filepath.Join(root, ".build", "bin", name)
		if _, err := os.Stat(built); err == nil {
			*path = built
			return
		}
		for _, candidate := range []string{name, "/usr/sbin/" + name, "/sbin/" + name} {
			if found, err := exec.LookPath(candidate); err == nil {
				*path = found
				return
			}
		}
		errs = append(errs, fmt.Errorf("there is no %s: %s", name, remedy))
	}
	find(&t.Consul, "consul", `"make tools" builds it`)
	find(&t.ConsulTemplate, "consul-template", `"make tools" builds it`)
	find(&t.Dnsmasq, "dnsmasq", `"make packages" or your package manager installs it (dnsmasq-base)`)
	find(&t.Unshare, "unshare", "install util-linux")
	find(&t.Setpriv, "setpriv", "install util-linux (or setpriv, where that is a package of its own)")
	if os.Geteuid() != 0 {
		find(new(string), "hostname", "install it, or run the lab as root") // see hostNamed
	}
	return t, errors.Join(errs...)
}

// SourceRoot goes up from the working folder to that of go.mod.
func SourceRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("run it in the source tree of kvexpress: there is no go.mod in the working folder or above it")
		}
		dir = parent
	}
}

// Build makes kvexpress as a release has it, and returns its path in dir.
func Build(ctx context.Context, root, dir string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, buildTime)
	defer cancel()
	path := filepath.Join(dir, "kvexpress")
	cmd := exec.CommandContext(ctx, filepath.Join(root, "scripts", "build"), path)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build kvexpress: %w\n%s", err, out)
	}
	return path, nil
}
