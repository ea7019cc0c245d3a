package command

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLookup(t *testing.T) {
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"good": 0o755, "plain": 0o644} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"), mode); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir)
	t.Chdir(dir)
	for program, want := range map[string]string{
		"good": "", dir + "/good": "", "./good": "", "nosuch": "nosuch is not in PATH (" + dir + "); install it", "plain": "not in PATH",
		dir + "/plain": "permission denied; install it, and make it executable", dir + "/nosuch": "no such file", dir: "is a directory",
		"no\nsuch": `no\nsuch is not in PATH`,
	} {
		if err := Lookup(program); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", program, err, want)
		}
	}
}
