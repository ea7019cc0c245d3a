package install_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/gate"
	"kvexpress/internal/install"
)

// A check that says no, crashes, hangs or is not there at all. The staged
// file is gone, the old one is untouched, and the exec does not run.
func TestCheckFails(t *testing.T) {
	for name, script := range map[string]string{
		"says no":                   `echo "line 7: bad"; exit 1`,
		"crashes":                   `echo "line 7: bad"; kill -SEGV $$`,
		"hangs":                     `echo "line 7: bad"; sleep 600`,
		"writes to the new file":    `echo more >>"$1"`,
		"changes a byte of it":      `printf x | dd of="$1" conv=notrunc status=none`,
		"makes it empty":            `: >"$1"`,
		"puts another in its place": `cp "$1" "$1.copy" && mv "$1.copy" "$1"`,
		"removes it":                `rm "$1"`,
		"makes it setuid":           `chmod 4755 "$1"`,
		"makes a hard link":         `ln "$1" "$2"`,
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, scratch(t))
			n.publish(contentA())
			n.settle(contentA())
			n.publish(contentB())
			ok := n.target.Check
			n.target.Check = []string{"/bin/sh", "-c", script, "sh", install.FileMark, filepath.Join(n.base(), "link")}
			n.target.CheckTimeout = 200 * time.Millisecond
			if name != "hangs" {
				n.target.CheckTimeout = time.Minute
			}
			_, err := n.deliver(nil)
			if err == nil {
				t.Fatal("it was installed")
			}
			var refusal *gate.Refusal
			if !errors.As(err, &refusal) || refusal.Reason != gate.CheckFailed {
				t.Errorf("error %v", err)
			}
			if strings.Contains(script, "line 7") && !strings.Contains(err.Error(), "line 7: bad") {
				t.Errorf("the error does not say what the check said: %v", err)
			}
			if strings.Contains(err.Error(), ".kvexpress/") && refusal != nil {
				t.Errorf("the error names the staged file, which users do not know: %v", err)
			}
			for _, b := range append(n.torn(contentA()), n.left()...) {
				t.Error(b)
			}
			if len(n.execs()) != 1 {
				t.Error("the exec ran")
			}
			n.target.Check = ok
			n.settle(contentB())
		})
	}
}

// The check sees the bytes, owner and mode of the new file, and its key and version.
func TestCheckSeesTheNewFile(t *testing.T) {
	n := newNode(t, scratch(t))
	n.publish(contentA())
	n.settle(contentA())
	if err := os.Chmod(n.target.File, 0o604); err != nil {
		t.Fatal(err)
	}
	res := n.publish(contentB())
	seen := filepath.Join(n.base(), "seen")
	n.target.Check = []string{"/bin/sh", "-c", `
		{ sha256sum <"$1"; stat -c %a "$1"; dirname "$1"; env | grep -E "^KVEXPRESS_(FILE|KEY|SHA256|VERSION)=" | sort; } >"$2"; cmp -s "$1" "$3" && exit 1; exit 0`,
		"sh", install.FileMark, seen, n.target.File}
	n.settle(contentB())
	want := fmt.Sprintf("%s  -\n604\n%s\nKVEXPRESS_FILE=%s\nKVEXPRESS_KEY=hosts\nKVEXPRESS_SHA256=%[1]s\nKVEXPRESS_VERSION=2\n",
		res.SHA256, filepath.Join(n.dir, ".hosts.kvexpress"), n.target.File)
	if got := string(read(t, seen)); got != want {
		t.Errorf("the check saw\n%swant\n%s", got, want)
	}
}
