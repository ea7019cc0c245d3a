package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// From the package to the first file: the commands of docs/install.md, in a root that has nothing of kvexpress. In the
// soak it is a Debian, else one with a shell alone, where dpkg takes the place of apt-get.
func TestFirstFile(t *testing.T) {
	t.Parallel()
	block := marked(t, "docs/install.md")
	if len(block) != 1 || strings.Count(block[0], "\n") != 3 {
		t.Fatalf("docs/install.md does not begin with three commands, but %q", block)
	}
	const theirs = "./kvexpress_2.0.0_amd64.deb"
	script := strings.Replace(block[0], theirs, "/new.deb", 1)
	r := newRoot(t)
	if os.Getenv("KVEXPRESS_SOAK") == "1" {
		r.dir = filepath.Join(t.TempDir(), "debian")
		run(t, "mmdebstrap", "--variant=minbase", "--quiet", "bookworm", r.dir)
	} else {
		r.write("/bin/apt-get", "#!/bin/sh\ntest \"$*\" = \"install -y /new.deb\"\n")
		run(t, "chmod", "755", r.path("/bin/apt-get"))
		run(t, "dpkg", "--root="+r.dir, "--install", packedFile(t, "*_2.0.0_*.deb"))
	}
	run(t, "cp", packedFile(t, "*_2.0.0_*.deb"), r.path("new.deb"))
	r.write("/etc/hosts", "127.0.0.1 localhost\n") // each machine has it

	started := time.Now()
	// A network and processes of its own: the hub takes the usual port, and all ends with the script.
	cmd := exec.CommandContext(t.Context(), need(t, "sh"), "-c", `busybox ip link set lo up && exec chroot "$0" sh -e -c "$1"`, r.dir, script)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWPID}
	runCmd(t, cmd)
	t.Logf("from the package to the first file: %v", time.Since(started).Round(time.Millisecond))
	if got := r.read("/run/kvexpress-motd"); got != "Hello, fleet\n" {
		t.Errorf("the first file is %q", got)
	}
}

// The README's commands install the package of each format, with the names that packages have. dpkg, rpm and tar install into a
// folder here, and tar unpacks the apk, for which Debian has no program.
func TestPackagesOfReadme(t *testing.T) {
	t.Parallel()
	if runtime.GOARCH != "amd64" {
		t.Skip("the README names the packages for amd64")
	}
	blocks := marked(t, "README.md")
	if len(blocks) != 1 {
		t.Fatalf("the README has %d blocks", len(blocks))
	}
	dir := t.TempDir()
	run(t, "sh", "-c", `cp "$0" "$1" "$2"`, packedFile(t, "*_2.0.0_*.deb"), packedFile(t, "*-2.0.0-*.rpm"), dir)
	if _, err := writePackage(dir, "apk", runtime.GOARCH, newVersion, packedAt, packedFiles(newVersion)); err != nil {
		t.Fatal(err)
	}
	if _, err := writeArchive(dir, runtime.GOARCH, newVersion, packedAt, packedFiles(newVersion)); err != nil {
		t.Fatal(err)
	}
	programs := t.TempDir()
	for name, script := range map[string]string{
		"apt-get": `[ "$1" = install ] && exec dpkg --root="$ROOT" --install "$2"`,
		"rpm":     `exec rpm --root="$ROOT" "$@"`,
		"apk":     `[ "$1 $2" = "add --allow-untrusted" ] && exec tar -C "$ROOT" -xzf "$3"`,
		"tar":     `[ "$1 $2" = "-C /usr/local" ] && shift 2 && exec tar -C "$ROOT/usr/local" "$@"`,
	} {
		if err := os.WriteFile(filepath.Join(programs, name), []byte("#!/bin/sh\nPATH=${PATH#*:}\n"+script+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	lines := strings.Split(strings.TrimSpace(blocks[0]), "\n")
	for _, line := range lines {
		r := newRoot(t)
		run(t, "mkdir", "-p", r.path("usr/local"))
		follow(t, dir, line, "ROOT="+r.dir, "PATH="+programs+":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
		runs(r, newVersion)
	}
	if len(lines) != 4 {
		t.Errorf("the README has %d commands, want one for each format", len(lines))
	}
}
