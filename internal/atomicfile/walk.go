package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxLinks is the most symbolic links of one path: the kernel's limit.
const maxLinks = 40

// ErrUntrustedLink: another user could point the symbolic link elsewhere.
var ErrUntrustedLink = errors.New("the symbolic link is not safe to follow")

// Find opens the folders of path, which must be absolute, one by one from the root: if another process swaps a folder, Find stays
// in the old one. It follows a symbolic link only if root or we own the link and the folders that lead to it, and others cannot
// write to these folders. Else the error wraps ErrUntrustedLink. So do all functions of this package that take a path.
func Find(path string, hook FaultHook) (*Target, error) {
	p, err := walk(path, hook)
	if err == nil && p.Base == "" {
		return nil, errors.Join(fmt.Errorf("open %s: %w but a folder", path, ErrNotRegular), p.Dir.Close())
	}
	return p, err
}

// MakeDirs makes the missing folders, with mode 0755 regardless of the umask, and makes them durable.
func (t *Target) MakeDirs() error {
	for len(t.Missing) > 0 {
		sub, err := t.Dir.makeDir(t.Missing[0], 0o755)
		if err != nil {
			return err
		}
		_ = t.Dir.Close() // nothing was written through it
		t.Dir, t.Missing = sub, t.Missing[1:]
	}
	return nil
}

// OpenDir opens a folder, which must exist.
func OpenDir(path string) (*Dir, error) {
	p, err := walk(path+"/", nil)
	if err != nil {
		return nil, err
	}
	if len(p.Missing) > 0 {
		return nil, errors.Join(fmt.Errorf("open the folder %s: %w", path, fs.ErrNotExist), p.Dir.Close())
	}
	return p.Dir, nil
}

// Resolve returns the path without symbolic links; see Find.
func Resolve(path string) (string, error) {
	p, err := Find(path, nil)
	if err != nil {
		return "", err
	}
	return p.Path(), p.Dir.Close()
}

// walk is Find, also for the path of a folder: then Base is "".
func walk(path string, hook FaultHook) (*Target, error) {
	if !filepath.IsAbs(path) {
		return nil, fmt.Errorf("the path %q is not absolute", path)
	}
	to := path
	for range maxLinks + 1 {
		p, next, err := follow(to, hook)
		if err != nil || next == "" {
			return p, err
		}
		to = next
	}
	return nil, fmt.Errorf("open %s: it has more than %d symbolic links", path, maxLinks)
}

// follow opens the folders of a path, up to its first symbolic link. Of a path with a link, it returns where the link leads.
func follow(path string, hook FaultHook) (_ *Target, next string, err error) {
	root, err := openAt(unix.AT_FDCWD, "/", openFolder|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, "", fmt.Errorf("open the folder /: %w", Explain(err))
	}
	d := &Dir{path: "/", fd: root, hook: hook}
	defer func() {
		if err != nil || next != "" {
			_ = d.Close() // it was read alone
		}
	}()
	parts := strings.Split(path, "/")
	for n, name := range parts {
		if name == "" || name == "." {
			continue
		}
		last := n == len(parts)-1 && name != ".."
		var failed error
		if !last {
			sub, err := d.open(name, openFolder)
			if err == nil {
				_ = d.Close() // as above
				d = sub
				continue
			}
			if errors.Is(err, fs.ErrNotExist) {
				return d.missing(parts[n:], err)
			}
			failed = err
		}
		to, err := d.link(name)
		switch {
		case err != nil:
			return nil, "", err
		case to == "" && last:
			return &Target{Dir: d, Base: name}, "", nil
		case to == "":
			return nil, "", failed
		case to[0] != '/':
			to = d.path + "/" + to
		}
		return nil, strings.Join(append([]string{to}, parts[n+1:]...), "/"), nil
	}
	return &Target{Dir: d}, "", nil
}

// missing is the place of a path whose rest does not exist.
func (d *Dir) missing(rest []string, err error) (*Target, string, error) {
	p := &Target{Dir: d}
	for n, name := range rest {
		switch {
		case name == "..":
			return nil, "", err
		case name == "", name == ".":
		case n == len(rest)-1:
			p.Base = name
		default:
			p.Missing = append(p.Missing, name)
		}
	}
	return p, "", nil
}

// link reads a symbolic link that is safe to follow; "" if name is no link.
func (d *Dir) link(name string) (string, error) {
	path := filepath.Join(d.path, name)
	to := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(d.fd, name, to)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read the link %s: %w", path, Explain(err))
	}
	s, err := d.stat(name)
	if err != nil {
		return "", fmt.Errorf("stat the link %s: %w", path, Explain(err))
	}
	const remedy = "name the file that the link leads to, or correct owner and mode"
	if !ours(s.Uid) {
		return "", fmt.Errorf("%s: %w: it belongs to %s; %s", path, ErrUntrustedLink, userName(s.Uid), remedy)
	}
	// By their paths: if others cannot replace any of these folders, they are the ones that were opened.
	for folder := d.path; ; folder = filepath.Dir(folder) {
		if err := unix.Lstat(folder, &s); err != nil {
			return "", fmt.Errorf("stat the folder %s: %w", folder, Explain(err))
		}
		// In a sticky folder such as /tmp others can add entries, but not replace ours.
		if !ours(s.Uid) || s.Mode&0o022 != 0 && s.Mode&unix.S_ISVTX == 0 {
			return "", fmt.Errorf("%s: %w: others can change the folder %s (it belongs to %s, mode %04o; see `chmod go-w`); %s",
				path, ErrUntrustedLink, folder, userName(s.Uid), s.Mode&0o7777, remedy)
		}
		if folder == "/" {
			return string(to[:n]), d.stillThere()
		}
	}
}

func ours(uid uint32) bool { return uid == 0 || int(uid) == os.Geteuid() }

func userName(uid uint32) string {
	id := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(id); err == nil {
		return fmt.Sprintf("%s (uid %s)", u.Username, id)
	}
	return "uid " + id
}
