package main

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"time"
)

// program is a kvexpress that runs on this machine. It knows its version, its help and its completions.
type program string

// built is the program that `make build` made.
func built(root string) program { return program(filepath.Join(root, ".build/bin/kvexpress")) }

// crossBuilt is the path of the program that scripts/cross made for Linux.
func crossBuilt(root, arch string) string {
	return filepath.Join(root, ".build/cross/kvexpress-linux-"+arch)
}

// output is what the program prints.
func (p program) output(args ...string) ([]byte, error) {
	path, err := filepath.Abs(string(p))
	if err != nil {
		return nil, err
	}
	out, err := exec.Command(path, args...).Output() //nolint:noctx // it prints and ends
	if err != nil {
		return nil, fmt.Errorf("%s %q: %w; \"make build\" makes it", p, args, err)
	}
	return out, nil
}

// version is the program's version, and the date of its commit.
func (p program) version() (version string, date time.Time, err error) {
	v, err := p.about()
	return v.Version, v.Date, err
}

// about is what a program says of itself.
type about struct {
	Version, Revision string
	Date              time.Time // of the commit
}

func (p program) about() (v about, err error) {
	out, err := p.output("version", "--json")
	if err != nil {
		return v, err
	}
	if err := json.Unmarshal(out, &v); err != nil {
		return v, fmt.Errorf("the version of %s: %w", p, err)
	}
	v.Date = v.Date.UTC()
	return v, nil
}
