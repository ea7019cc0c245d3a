package atomicfile

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// needRoot skips a test that only root can run, but not where all tests must run.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatal("this test must run as root in CI")
	}
	t.Skip("SKIPPED: only root can make files of others")
}

// tree is a folder that belongs to us alone, with links and folders made by name:
// "etc/hosts -> ../srv/hosts", "srv/", "srv/hosts".
func tree(t *testing.T, entries ...string) string {
	t.Helper()
	// The folders above are the system's, so they may have links.
	base, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		name, to, link := strings.Cut(entry, " -> ")
		path := filepath.Join(base, name)
		var err error
		switch {
		case link:
			err = os.Symlink(strings.Replace(to, "BASE", base, 1), path)
		case strings.HasSuffix(name, "/"):
			err = os.Mkdir(path, 0o755)
		default:
			err = os.WriteFile(path, []byte("x"), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return base
}

func TestResolve(t *testing.T) {
	for name, c := range map[string]struct {
		entries []string
		want    string
	}{
		"a file":              {[]string{"a"}, "a"},
		"nothing":             {nil, "a"},
		"a relative link":     {[]string{"a -> b", "b"}, "b"},
		"an absolute link":    {[]string{"a -> BASE/b", "b"}, "b"},
		"links in a row":      {[]string{"a -> b", "b -> c", "c"}, "c"},
		"a dangling link":     {[]string{"a -> b"}, "b"},
		"no folder there yet": {[]string{"a -> new/folder/b"}, "new/folder/b"},
		"no folder, dots":     {[]string{"d/", "a -> d/../new/b"}, "new/b"},
		"a linked folder":     {[]string{"d/", "l -> d", "a -> l/b", "d/b"}, "d/b"},
		// Where the kernel goes, not where the names seem to lead.
		"dots behind a link": {[]string{"d/", "d/e/", "l -> d/e", "a -> l/../b", "d/b", "b"}, "d/b"},
	} {
		t.Run(name, func(t *testing.T) {
			base := tree(t, c.entries...)
			got, err := Resolve(filepath.Join(base, "a"))
			if err != nil || got != filepath.Join(base, c.want) {
				t.Errorf("%s, %v; want %s", got, err, c.want)
			}
			real, err := filepath.EvalSymlinks(filepath.Join(base, "a"))
			if err == nil && real != got {
				t.Errorf("the kernel goes to %s", real)
			}
		})
	}
}

func TestResolveLoop(t *testing.T) {
	for name, entries := range map[string][]string{
		"one":     {"a -> a"},
		"two":     {"a -> b", "b -> a"},
		"folders": {"a -> l/x", "l -> m", "m -> l"},
	} {
		if got, err := Resolve(filepath.Join(tree(t, entries...), "a")); err == nil {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// A user who can change a link could make us overwrite any file.
func TestResolveRefusesWhatOthersControl(t *testing.T) {
	needRoot(t)
	const nobodyUID = 65534
	chown := func(name string) func(string) error {
		return func(base string) error { return os.Lchown(filepath.Join(base, name), nobodyUID, nobodyUID) }
	}
	chmod := func(name string, mode os.FileMode) func(string) error {
		return func(base string) error { return os.Chmod(filepath.Join(base, name), mode) }
	}
	for name, c := range map[string]struct {
		entries []string
		spoil   func(base string) error
	}{
		"the link is theirs":            {[]string{"d/", "d/a -> ../b", "b"}, chown("d/a")},
		"its folder is theirs":          {[]string{"d/", "d/a -> ../b", "b"}, chown("d")},
		"its folder is open to all":     {[]string{"d/", "d/a -> ../b", "b"}, chmod("d", 0o777)},
		"its folder is open to a group": {[]string{"d/", "d/a -> ../b", "b"}, chmod("d", 0o775)},
		"a link in between is theirs":   {[]string{"d/", "d/a -> ../l", "l -> b", "b"}, chown("l")},
		"a folder on the way is open": {
			[]string{"d/", "open/", "safe/", "open/l -> ../safe", "m -> open/l", "d/a -> ../m/b", "safe/b"}, chmod("open", 0o777)},
		"a folder that dots pass is open": {
			[]string{"d/", "open/", "safe/", "safe/in/", "open/l -> ../safe/in", "d/a -> ../open/l/../b", "safe/b"}, chmod("open", 0o777)},
		"a folder of the path is a link of theirs": {[]string{"safe/", "d -> safe", "safe/a"}, chown("d")},
		"a linked folder on the way is theirs": {
			[]string{"d/", "safe/", "l -> safe", "d/a -> ../l/b", "safe/b"}, chown("l")},
	} {
		t.Run(name, func(t *testing.T) {
			base := tree(t, c.entries...)
			path := filepath.Join(base, "d", "a")
			if _, err := Resolve(path); err != nil {
				t.Fatalf("the negative control, before it is spoilt: %v", err)
			}
			if err := c.spoil(base); err != nil {
				t.Fatal(err)
			}
			if got, err := Resolve(path); !errors.Is(err, ErrUntrustedLink) {
				t.Errorf("%s, %v", got, err)
			}
			if d, err := OpenDir(path); !errors.Is(err, ErrUntrustedLink) {
				t.Errorf("as a folder: %v, %v", d, err)
			}
		})
	}
}

// In a sticky folder, such as /tmp, others cannot replace our link.
func TestResolveInStickyFolder(t *testing.T) {
	base := tree(t, "d/", "d/a -> ../b", "b")
	if err := os.Chmod(filepath.Join(base, "d"), 0o777|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	if _, err := Resolve(filepath.Join(base, "d", "a")); err != nil {
		t.Error(err)
	}
}

// The owner of the folders of a plain file, or of our link's target, does not matter: they have no link to follow.
func TestResolvePlainFileAnywhere(t *testing.T) {
	base := tree(t, "d/", "d/a", "b -> d/a", "c -> d/new/a")
	if err := os.Chmod(filepath.Join(base, "d"), 0o777); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"d/a", "b", "c"} {
		if _, err := Resolve(filepath.Join(base, name)); err != nil {
			t.Error(err)
		}
	}
}

func TestResolveBelowAFile(t *testing.T) {
	if got, err := Resolve(filepath.Join(tree(t, "d"), "d", "a")); !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("%s, %v", got, err)
	}
}
