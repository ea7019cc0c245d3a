package atomicfile

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A lock folder that another user put there, or that is no folder, is refused; what it leads to is not touched.
func TestLockFolderOfAnother(t *testing.T) {
	needRoot(t)
	for name, c := range map[string]struct {
		mode   os.FileMode // of the target's folder
		make   func(lock, other string) error
		refuse bool
	}{
		"a link":                    {0o755, func(lock, other string) error { return os.Symlink(other, lock) }, true},
		"a file":                    {0o755, func(lock, _ string) error { return os.WriteFile(lock, nil, 0o600) }, true},
		"ours":                      {0o755, func(lock, _ string) error { return os.Mkdir(lock, 0o777) }, false},
		"of nobody, in a shared":    {0o777, ofNobody, false},
		"of nobody, in a sticky":    {0o777 | os.ModeSticky, ofNobody, false},
		"of nobody, as it was left": {0o755, ofNobody, false}, // root takes it over
	} {
		t.Run(name, func(t *testing.T) {
			dir, other := t.TempDir(), t.TempDir()
			lock := filepath.Join(dir, lockName("file"))
			if err := errors.Join(os.Chmod(dir, c.mode), c.make(lock, other)); err != nil {
				t.Fatal(err)
			}
			err := replace(filepath.Join(dir, "file"), nil, func(s FaultPoint) error {
				if info, err := os.Stat(lock); s == AtSync && err == nil {
					if uid, _ := Owner(info); uid != 0 || info.Mode().Perm()&^c.mode != 0 && c.mode&0o022 != 0 {
						t.Errorf("the lock folder belongs to uid %d, mode %v", uid, info.Mode())
					}
				}
				return nil
			})
			if (err != nil) != c.refuse || c.refuse && !strings.Contains(err.Error(), lock) {
				t.Errorf("error %v", err)
			}
			if !c.refuse {
				left(t, dir, "file")
			}
			left(t, other)
		})
	}
}

func ofNobody(lock, _ string) error {
	return errors.Join(os.Mkdir(lock, 0o777), os.WriteFile(filepath.Join(lock, "file"), nil, 0o600), os.Chown(lock, 65534, 65534))
}

// In a folder that several users may write, one user can rename another's folder to the lock folder.
// It keeps its owner, mode and content.
func TestFolderOfAVictim(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	lock := filepath.Join(dir, lockName("file"))
	if err := errors.Join(os.Chmod(dir, 0o777), os.Mkdir(lock, 0o700), os.WriteFile(filepath.Join(lock, "secret"), nil, 0o600),
		os.Chown(lock, 4242, 4242)); err != nil {
		t.Fatal(err)
	}
	if err := replace(filepath.Join(dir, "file"), nil, nil); err != nil {
		t.Error(err)
	}
	left(t, lock, "secret")
	info, err := os.Stat(lock)
	if err != nil {
		t.Fatal(err)
	}
	if uid, gid := Owner(info); info.Mode().Perm() != 0o700 || uid != 4242 || gid != 4242 {
		t.Errorf("%v %d %d", info.Mode(), uid, gid)
	}
}

// The lock folder is open to the writers of the target's folder, and closed to others: by the
// folder's mode, group and ACL. A staged file has the group and the ACL of one made there.
func TestLockFolderModes(t *testing.T) {
	needRoot(t)
	for name, c := range map[string]struct {
		spoil [][]string
		mode  os.FileMode
		acl   string // a line of getfacl
	}{
		"0755":                     {nil, 0o700, ""},
		"setgid":                   {[][]string{{"chgrp", "4242"}, {"chmod", "2775"}}, 0o770 | os.ModeSetgid, ""},
		"sticky":                   {[][]string{{"chmod", "1777"}}, 0o777 | os.ModeSticky, ""},
		"readers of a default ACL": {[][]string{{"chmod", "0775"}, {"setfacl", "-m", "d:u:4242:r-x"}}, 0o770, "!user:4242"},
		"a writer of the ACL":      {[][]string{{"setfacl", "-m", "u:4242:rwx,u:4243:r-x"}}, 0o770, "user:4242:rwx"},
		"a reader of the ACL":      {[][]string{{"setfacl", "-m", "u:4242:rwx,u:4243:r-x"}}, 0o770, "user:4243:---"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for _, argv := range append([][]string{{"chmod", "0755"}}, c.spoil...) {
				if out, err := exec.Command(argv[0], append(argv[1:], dir)...).CombinedOutput(); err != nil {
					t.Fatalf("%q: %v, %s", argv, err, out)
				}
			}
			acl := func(path string) string {
				out, err := exec.Command("getfacl", "-pEnc", path).Output()
				if err != nil {
					t.Fatal(err)
				}
				return string(out)
			}
			path, plain := filepath.Join(dir, "file"), filepath.Join(dir, "plain")
			if err := os.WriteFile(plain, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			seen := 0
			err := replace(path, nil, func(s FaultPoint) error {
				lock := filepath.Join(dir, lockName("file"))
				info, _ := os.Stat(lock) // nil before it is made
				if s != AtWrite || info == nil {
					return nil
				}
				seen++
				if info.Mode() != c.mode|os.ModeDir {
					t.Errorf("%s: mode %v, want %v", lock, info.Mode(), c.mode)
				}
				if not, unwanted := strings.CutPrefix(c.acl, "!"); strings.Contains("\n"+acl(lock), "\n"+not) == unwanted && c.acl != "" {
					t.Errorf("%s: ACL %s", lock, acl(lock))
				}
				return nil
			})
			if err != nil || seen != 1 {
				t.Errorf("seen %d, %v", seen, err)
			}
			if err := os.Chmod(plain, 0o644); err != nil {
				t.Fatal(err)
			}
			a, _ := os.Stat(path)
			b, _ := os.Stat(plain)
			_, gidA := Owner(a)
			if _, gidB := Owner(b); gidA != gidB || acl(path) != acl(plain) {
				t.Errorf("it has group %d and ACL\n%s; one made in the folder\n%d\n%s", gidA, acl(path), gidB, acl(plain))
			}
		})
	}
}

// A lock folder fits beside every file, and no pattern that fits the file fits it.
func TestLockName(t *testing.T) {
	for _, base := range []string{"a.conf", strings.Repeat("x", 244), strings.Repeat("x", 245), strings.Repeat("x", 250) + ".conf"} {
		dir := t.TempDir()
		seen := 0
		err := replace(filepath.Join(dir, base), nil, func(FaultPoint) error {
			info, err := os.Stat(filepath.Join(dir, lockName(base)))
			if matched, _ := filepath.Match("*.conf", lockName(base)); err != nil || !info.IsDir() || matched {
				t.Errorf("%s: %v", lockName(base), err)
			}
			seen++
			return nil
		})
		if err != nil || seen == 0 {
			t.Errorf("%s: seen %d, %v", base, seen, err)
		}
		left(t, dir, base)
	}
}
