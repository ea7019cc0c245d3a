package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/cpuguy83/go-md2man/v2/md2man"
)

// generate writes what the packages have beside the program and the repository's files: man pages and completions.
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
	for name, part := range map[string]string{
		"kvexpress-agent.yml": "agent-yml.md",
		"kvexpress-hub.yml":   "hub.md",
	} {
		text, err := os.ReadFile(filepath.Join(root, "docs", part))
		if err != nil {
			return err
		}
		if err := writeZipped(filepath.Join(dir, name+".5.gz"), fileManual(name, string(text), version, date)); err != nil {
			return err
		}
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
	return nil
}

var link = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)

// fileManual turns a document into a page of section 5.
func fileManual(name, text, version string, date time.Time) []byte {
	text = link.ReplaceAllString(text, "$1")
	return md2man.Render(fmt.Appendf(nil, "%% %s 5 %s %q\n\n%s", name, date.Format(time.DateOnly), "kvexpress "+version, text))
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
