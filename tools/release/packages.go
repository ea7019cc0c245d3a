package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/goreleaser/nfpm/v2"
	_ "github.com/goreleaser/nfpm/v2/apk" // the formats register themselves
	_ "github.com/goreleaser/nfpm/v2/deb"
	nfpmfiles "github.com/goreleaser/nfpm/v2/files"
	_ "github.com/goreleaser/nfpm/v2/rpm"
)

// packages makes all packages for both architectures.
func packages(root string) (err error) {
	p := built(root)
	version, date, err := p.version()
	if err != nil {
		return err
	}
	out := filepath.Join(root, ".build/packages")
	if err := os.RemoveAll(out); err != nil { // those of another version
		return err
	}
	generated, err := os.MkdirTemp("", "kvexpress-packages-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(generated)) }()
	if err := generate(p, root, generated, version, date); err != nil {
		return err
	}
	for _, arch := range []string{"amd64", "arm64"} {
		f := files{root: root, generated: generated, program: crossBuilt(root, arch)}
		for _, format := range []string{"deb", "rpm", "apk"} {
			if _, err := writePackage(out, format, arch, version, date, f); err != nil {
				return err
			}
		}
		if _, err := writeArchive(out, arch, version, date, f); err != nil {
			return err
		}
	}
	return nil
}

// writePackage writes a deb, an rpm or an apk into a folder, and returns its path. The same input gives the
// same bytes, everywhere.
func writePackage(dir, format, arch, version string, date time.Time, f files) (name string, err error) {
	entries, err := f.installed(format)
	if err != nil {
		return "", err
	}
	contents := nfpmfiles.Contents{{Destination: "/etc/kvexpress/conf.d", Type: nfpmfiles.TypeDir}}
	for _, e := range entries {
		for dir := path.Dir(e.path); strings.Contains(dir+"/", "/kvexpress/"); dir = path.Dir(dir) {
			if d := "/" + dir; !contents.ContainsDestination(d) { // rpm removes only folders that the package lists
				contents = append(contents, &nfpmfiles.Content{Destination: d, Type: nfpmfiles.TypeDir})
			}
		}
		c := &nfpmfiles.Content{Source: e.source, Destination: "/" + e.path, FileInfo: &nfpmfiles.ContentFileInfo{Mode: e.mode}}
		if e.config {
			c.Type = nfpmfiles.TypeConfigNoReplace
		}
		contents = append(contents, c)
	}
	script := func(name string) string { return filepath.Join(f.generated, name) }
	info := nfpm.WithDefaults(&nfpm.Info{
		Name: "kvexpress", Arch: arch, Version: version, MTime: date, Section: "admin",
		Maintainer: "The kvexpress maintainers", License: "Apache-2.0", DisableGlobbing: true,
		Description: "Put a file on every machine of a fleet through Consul, verified\n" +
			"One machine publishes a file into Consul's KV store. Every node installs it: verified, completely or not\n" +
			"at all, and reports that it arrived. This package has the command, the agent and the hub.",
		Overridables: nfpm.Overridables{
			Contents: contents,
			Scripts: nfpm.Scripts{PostInstall: script("after-install"), PreRemove: script("before-remove"),
				PostRemove: script("after-remove")},
			Deb: nfpm.Deb{Compression: "zstd"},
			RPM: nfpm.RPM{Compression: "zstd", BuildHost: "localhost"}, // the host is in the package
			APK: nfpm.APK{Scripts: nfpm.APKScripts{PostUpgrade: script("after-install")}},
		},
	})
	if format == "apk" {
		info.VersionMetadata = "" // the commit of a development version; apk refuses it
	}
	packager, err := nfpm.Get(format)
	if err != nil {
		return "", err
	}
	name = filepath.Join(dir, packager.ConventionalFileName(info))
	return name, create(name, func(w io.Writer) error { return packager.Package(info, w) })
}

// create writes a file. A file that is not complete does not stay.
func create(path string, write func(io.Writer) error) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return err
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := errors.Join(write(file), file.Close()); err != nil {
		return errors.Join(fmt.Errorf("%s: %w", path, err), os.Remove(path))
	}
	fmt.Println("wrote", path)
	return nil
}
