package main

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// generate writes the parts of a package that are neither the program nor files of the repository.
func generate(p program, root, dir, version string, date time.Time) error {
	help := func(command ...string) ([]byte, error) { return p.output(append([]string{"help"}, command...)...) }
	pages, err := manual(help, version, date)
	if err != nil {
		return err
	}
	for name, text := range pages {
		if err := writeZipped(filepath.Join(dir, name+".1.gz"), []byte(text)); err != nil {
			return err
		}
	}
	for name, from := range map[string]struct{ file, heading string }{
		"kvexpress-agent.yml": {"agent-yml.md", "# agent.yml"},
		"kvexpress-hub.yml":   {"hub.md", "## Configure it"},
	} {
		text, err := os.ReadFile(filepath.Join(root, "docs", from.file))
		if err != nil {
			return err
		}
		text, err = fileManual(name, from.heading, string(text), version, date)
		if err != nil {
			return fmt.Errorf("docs/%s: %w", from.file, err)
		}
		if err := writeZipped(filepath.Join(dir, name+".5.gz"), text); err != nil {
			return err
		}
	}
	linked, err := modules(string(p))
	if err != nil {
		return err
	}
	if err := create(filepath.Join(dir, thirdParty), func(w io.Writer) error { return writeLicences(w, linked) }); err != nil {
		return err
	}
	for shell, name := range map[string]string{"bash": "kvexpress", "zsh": "_kvexpress", "fish": "kvexpress.fish"} {
		text, err := p.output("completion", shell)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			return err
		}
	}
	return generateParts(root, dir, date)
}

// generateParts writes the units and the scripts. A unit of a package runs the program of the package, also if there is
// another one in /usr/local/bin. apk packs the date of a script.
func generateParts(root, dir string, date time.Time) error {
	units, err := filepath.Glob(filepath.Join(root, "systemd/*.service"))
	if err != nil {
		return err
	}
	scripts, err := filepath.Glob(filepath.Join(root, "packaging/*-*"))
	if err != nil {
		return err
	}
	for _, source := range append(units, scripts...) {
		text, err := os.ReadFile(source)
		if err != nil {
			return err
		}
		text = bytes.ReplaceAll(text, []byte("=kvexpress "), []byte("=/usr/bin/kvexpress "))
		path := filepath.Join(dir, filepath.Base(source))
		err = os.WriteFile(path, text, 0o600) //nolint:gosec // the text is ours
		if err := errors.Join(err, os.Chtimes(path, date, date)); err != nil {
			return err
		}
	}
	return nil
}

func writeZipped(path string, text []byte) error {
	var b bytes.Buffer
	z := gzip.NewWriter(&b) // without a name or a date
	if _, err := z.Write(text); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	return os.WriteFile(path, b.Bytes(), 0o600)
}
