package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// maxLinks is how many symbolic links in a row are followed: the kernel's own
// limit.
const maxLinks = 40

// ErrUntrustedLink: the target is a symbolic link that somebody else could
// point elsewhere.
var ErrUntrustedLink = errors.New("the symbolic link is not safe to follow")

// Resolve returns the file that path, which must be absolute and clean, leads
// to. A symbolic link is followed, so that it is kept and its destination
// replaced, but only where the link and all folders above it belong to root or
// to us and nobody else can write to them: otherwise the error wraps
// ErrUntrustedLink. The destination need not exist.
func Resolve(path string) (string, error) {
	at := path
	for range maxLinks {
		info, err := os.Lstat(at)
		if errors.Is(err, fs.ErrNotExist) || (err == nil && info.Mode()&fs.ModeSymlink == 0) {
			return at, nil
		}
		if err != nil {
			return "", fmt.Errorf("look at %s: %w", at, Explain(err))
		}
		if err := trustedLink(at, info); err != nil {
			return "", err
		}
		if at, err = destination(at); err != nil {
			return "", err
		}
	}
	return "", fmt.Errorf("%s: more than %d symbolic links in a row", path, maxLinks)
}

// destination is where a link points to, which may be a link again.
func destination(link string) (string, error) {
	to, err := os.Readlink(link)
	if err != nil {
		return "", fmt.Errorf("read the link %s: %w", link, Explain(err))
	}
	if !filepath.IsAbs(to) {
		dir, err := filepath.EvalSymlinks(filepath.Dir(link))
		if err != nil {
			return "", fmt.Errorf("follow the link %s: %w", link, Explain(err))
		}
		to = dir + "/" + to
	}
	dir, base := filepath.Split(to)
	if err := trustedFolders(dir); err != nil {
		return "", err
	}
	// ".." is the parent of the real folder, which the name alone does not tell.
	switch real, err := filepath.EvalSymlinks(dir); {
	case err == nil:
		return filepath.Join(real, base), nil
	case errors.Is(err, fs.ErrNotExist):
		return filepath.Clean(to), nil
	default:
		return "", fmt.Errorf("follow the link %s: %w", link, Explain(err))
	}
}

func trustedLink(path string, info fs.FileInfo) error {
	if !ours(info) {
		uid, _ := Owner(info)
		return fmt.Errorf("%s: %w: it belongs to uid %d", path, ErrUntrustedLink, uid)
	}
	return trustedFolders(filepath.Dir(path))
}

// trustedFolders looks at all folders and links that the kernel passes through
// on its way to dir.
func trustedFolders(dir string) error {
	at, todo := "/", append([]string{"/"}, strings.Split(dir, "/")...)
	for links := 0; len(todo) > 0 && links <= maxLinks; {
		part := todo[0]
		todo = todo[1:]
		path := filepath.Join(at, part) // at has no links in it, so ".." is right
		info, err := os.Lstat(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // MakeDirs makes what is missing, and it will be ours
		}
		if err != nil {
			return fmt.Errorf("look at the folder %s: %w", path, Explain(err))
		}
		if err := trustedFolder(path, info); err != nil {
			return err
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			at = path
			continue
		}
		to, err := os.Readlink(path)
		if err != nil {
			return fmt.Errorf("read the link %s: %w", path, Explain(err))
		}
		if filepath.IsAbs(to) {
			at = "/"
		}
		links++
		todo = append(strings.Split(to, "/"), todo...)
	}
	if len(todo) > 0 {
		return fmt.Errorf("%s: more than %d symbolic links on the way", dir, maxLinks)
	}
	return nil
}

func trustedFolder(path string, info fs.FileInfo) error {
	if !ours(info) {
		uid, _ := Owner(info)
		return fmt.Errorf("%s: %w: the folder belongs to uid %d", path, ErrUntrustedLink, uid)
	}
	// In a sticky folder such as /tmp others can add entries, but not replace
	// ours.
	writable := info.Mode().Perm()&0o022 != 0 && info.Mode()&fs.ModeSticky == 0
	if info.IsDir() && writable {
		return fmt.Errorf("%s: %w: others can write to the folder", path, ErrUntrustedLink)
	}
	return nil
}

func ours(info fs.FileInfo) bool {
	uid, _ := Owner(info)
	return uid == 0 || uid == os.Geteuid()
}
