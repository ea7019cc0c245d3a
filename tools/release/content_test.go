package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The same sources in another folder, with other dates and modes, give the same bytes.
func TestSameBytesFromAnotherFolder(t *testing.T) {
	t.Parallel()
	copied := t.TempDir()
	run(t, "sh", "-c", `cd ../.. && cp -r *.md LICENSE docs examples monitoring packaging schemas systemd "$0" && chmod -R g+w "$0"`, copied)
	for _, format := range []string{"deb", "rpm", "apk", "tar.gz"} {
		if !bytes.Equal(small(t, format, "../.."), small(t, format, copied)) {
			t.Errorf("%s is another one when it is built again", format)
		}
	}
}

// small is a package with a script in place of the program, which takes long to pack.
func small(t *testing.T, format, root string) []byte {
	t.Helper()
	f := files{root: root, generated: t.TempDir(), program: filepath.Join(root, "packaging/after-install")}
	if err := generate(program(packedFile(t, "kvexpress-"+newVersion)), root, f.generated, newVersion, packedAt); err != nil {
		t.Fatal(err)
	}
	write := func(dir, arch, version string, date time.Time, f files) (string, error) {
		return writePackage(dir, format, arch, version, date, f)
	}
	if format == "tar.gz" {
		write = writeArchive
	}
	path, err := write(t.TempDir(), "arm64", newVersion+"+5.gabc", packedAt, f) // of a commit after the tag
	if err != nil {
		t.Fatal(err)
	}
	return bytesOf(t, path)
}

func bytesOf(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// systemd reads the installed units without a warning.
func TestInstalledUnits(t *testing.T) {
	t.Parallel()
	need(t, "systemd-analyze")
	dir := t.TempDir()
	run(t, "dpkg-deb", "-x", packedFile(t, "*_2.0.0_*.deb"), dir)
	units := filepath.Join(dir, "usr/lib/systemd/system")
	// What a machine has, and the units name.
	run(t, "sh", "-c", `cp /bin/kill "$0/usr/bin" && cp -R /usr/lib/systemd/system/*.target "$1"`, dir, units)
	found, err := filepath.Glob(units + "/*.service")
	if err != nil || len(found) != 3 {
		t.Fatalf("units are %q, %v", found, err)
	}
	for _, unit := range found {
		if strings.Contains(string(bytesOf(t, unit)), "=kvexpress ") {
			t.Errorf("%s runs the first kvexpress that it finds, not the package's", unit)
		}
		cmd := exec.CommandContext(t.Context(), "systemd-analyze", "verify", "--man=no", "--root="+dir, filepath.Base(unit))
		if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s: %v\n%s", filepath.Base(unit), err, out)
		}
	}
}

// Each command has a page, and groff finds nothing wrong in any.
func TestManualPages(t *testing.T) {
	t.Parallel()
	need(t, "groff")
	packedFile(t, "*_2.0.0_*.deb") // they are generated
	pages, err := filepath.Glob(packed.generated + "/*.gz")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]string{}
	for _, page := range pages {
		z, err := gzip.NewReader(bytes.NewReader(bytesOf(t, page)))
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), "groff", "-k", "-t", "-man", "-Tutf8", "-ww", "-P-cbou")
		var stdout, stderr strings.Builder
		cmd.Stdin, cmd.Stdout, cmd.Stderr = z, &stdout, &stderr
		if err := cmd.Run(); err != nil || stderr.Len() > 0 {
			t.Errorf("%s: %v\n%s", page, err, stderr.String())
		}
		names[strings.TrimSuffix(filepath.Base(page), ".gz")] = stdout.String()
	}
	for page, shown := range map[string]string{
		"kvexpress.1":           "Publish a file to the store", // of its list of commands
		"kvexpress-in.1":        "--if-version",
		"kvexpress-kv-export.1": "kvexpress-kv-export - Print all keys, or those with a prefix, as JSON",
		"kvexpress-agent.yml.5": "exec_every",
		"kvexpress-hub.yml.5":   "max_conns_per_client",
	} {
		if !strings.Contains(names[page], shown) {
			t.Errorf("%s does not say %q:\n%s", page, shown, names[page])
		}
	}
	commands := strings.Count(string(bytesOf(t, "../../internal/cli/help.txt")), "\n# ")
	if of1 := len(names) - 2; of1 < commands {
		t.Errorf("there are pages for %d commands, and %d commands", of1, commands)
	}
}

// bash reads its completion; there is one for zsh and one for fish.
func TestCompletion(t *testing.T) {
	t.Parallel()
	packedFile(t, "*_2.0.0_*.deb")
	if said := run(t, "bash", "-c", `. "$0" && complete -p kvexpress`, filepath.Join(packed.generated, "kvexpress")); said == "" {
		t.Error("bash has no completion after it read ours")
	}
	for name, first := range map[string]string{"_kvexpress": "#compdef kvexpress\n", "kvexpress.fish": "# fish completion for kvexpress"} {
		if text := string(bytesOf(t, filepath.Join(packed.generated, name))); !strings.HasPrefix(text, first) {
			t.Errorf("%s begins with %.60q", name, text)
		}
	}
}

// An apk has the same files without units, and scripts for its three events. The archive has nothing in /etc.
func TestOtherFormats(t *testing.T) {
	t.Parallel()
	inside := unpacked(t, small(t, "apk", "../.."))
	for _, name := range []string{".PKGINFO", ".post-install", ".post-upgrade", ".pre-deinstall", ".post-deinstall", "usr/bin/kvexpress",
		"etc/kvexpress/agent.yml", "usr/share/man/man1/kvexpress-in.1.gz", "usr/share/doc/kvexpress/docs/agent.md",
		"usr/share/doc/kvexpress/examples/nginx/README.md", "usr/share/kvexpress/json/status.schema.json"} {
		if inside[name] == "" {
			t.Errorf("the apk has no %s", name)
		}
	}
	if info := inside[".PKGINFO"]; !strings.Contains(info, "\npkgver = "+newVersion+"\n") || !strings.Contains(info, "\narch = aarch64\n") {
		t.Errorf(".PKGINFO is %s", info)
	}
	if inside[".post-install"] != inside[".post-upgrade"] {
		t.Error("an upgrade of the apk runs another script")
	}
	for name := range inside {
		if strings.HasSuffix(name, ".service") {
			t.Errorf("the apk has %s, and Alpine has no systemd", name)
		}
	}

	dir := t.TempDir()
	if err := os.WriteFile(dir+".tar.gz", small(t, "tar.gz", "../.."), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, "tar", "-C", dir, "--strip-components=1", "-xzf", dir+".tar.gz")
	if info, err := os.Stat(filepath.Join(dir, "bin/kvexpress")); err != nil || info.Mode() != 0o755 {
		t.Errorf("the program in the archive: %v, %v", info, err)
	}
	for _, name := range []string{"agent.yml", "example.yml"} {
		run(t, packedProgram(newVersion), "agent", "--check-config", "-C", filepath.Join(dir, "share/kvexpress", name))
	}
	if _, err := os.Stat(filepath.Join(dir, "etc")); !os.IsNotExist(err) {
		t.Errorf("the archive has etc, which would replace configuration: %v", err)
	}
}

// unpacked are the files of an apk: gzip streams, one after the other, that are one tar.
func unpacked(t *testing.T, apk []byte) map[string]string {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(apk))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		all[strings.TrimSuffix(h.Name, "/")] = string(b)
	}
}
