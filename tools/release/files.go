package main

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
)

// files says where the files of a package come from.
type files struct {
	root      string // the repository
	generated string // what generate wrote
	program   string // kvexpress for the system that the package is for
}

// entry is one file of a package.
type entry struct {
	source, path string // the path has no slash at its beginning
	mode         fs.FileMode
	config       bool // the administrator's after the first install
}

// installed lists the files of a package of a format: deb, rpm, apk or tar.gz.
func (f files) installed(format string) (all []entry, err error) {
	const doc = "usr/share/doc/kvexpress/"
	licences, zsh := "usr/share/licenses/kvexpress/", "usr/share/zsh/site-functions/"
	if format == "deb" {
		licences, zsh = doc, "usr/share/zsh/vendor-completions/"
	}
	units := f.generated
	if format == "tar.gz" { // it may be unpacked anywhere
		units = filepath.Join(f.root, "systemd")
	}
	for _, part := range []struct{ from, pattern, to string }{
		{f.root, "packaging/*.yml", "usr/share/kvexpress/"},
		{f.root, "schemas/*.json", "usr/share/kvexpress/"},
		{f.root, "schemas/json/*.json", "usr/share/kvexpress/json/"},
		{units, "*.service", "usr/lib/systemd/system/"},
		{f.generated, "*.1.gz", "usr/share/man/man1/"},
		{f.generated, "*.5.gz", "usr/share/man/man5/"},
		{f.generated, "kvexpress", "usr/share/bash-completion/completions/"},
		{f.generated, "_kvexpress", zsh},
		{f.generated, "kvexpress.fish", "usr/share/fish/vendor_completions.d/"},
		{f.root, "*.md", doc},
		{f.root, "docs/*.md", doc},
		{f.root, "monitoring/*", doc},
		{f.root, "examples/*.md", doc},
		{f.root, "examples/*/*", doc},
		{f.root, "LICENSE", licences},
		{f.generated, thirdParty, licences},
	} {
		if format == "apk" && part.pattern == "*.service" { // Alpine has no systemd
			continue
		}
		paths, err := filepath.Glob(filepath.Join(part.from, part.pattern))
		if err != nil || len(paths) == 0 {
			return nil, fmt.Errorf("%s in %s: no such file (%w)", part.pattern, part.from, err)
		}
		for _, path := range paths {
			e := entry{source: path, path: part.to + filepath.Base(path), mode: 0o644}
			if part.to == doc { // they link to each other
				e.path = doc + strings.TrimPrefix(filepath.ToSlash(path), filepath.ToSlash(part.from)+"/")
			}
			if name := filepath.Base(path); part.pattern == "packaging/*.yml" && name != "example.yml" {
				e.path, e.config = "etc/kvexpress/"+name, true
			}
			all = append(all, e)
		}
	}
	return append(all, entry{source: f.program, path: "usr/bin/kvexpress", mode: 0o755}), nil
}

// archived is the path in the tar.gz, which is unpacked in /usr or /usr/local. It has no /etc: unpacking it
// replaces no configuration.
func (e entry) archived() string {
	if e.config {
		return "share/kvexpress/" + filepath.Base(e.path)
	}
	return strings.TrimPrefix(e.path, "usr/")
}
