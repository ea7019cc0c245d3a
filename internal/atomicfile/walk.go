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

// Place is where a path leads.
type Place struct {
	// Dir is the last folder of the path that exists. The caller closes it.
	Dir *Dir
	// Missing are the folders below Dir that do not exist yet.
	Missing []string
	Base    string // name of the file, which may be missing
}

// Find opens the folders of path, which must be absolute, one by one from the root: if another process swaps a folder, Find stays
// in the old one. It follows a symbolic link only if root or we own the link and the folders that lead to it, and others cannot
// write to these folders. Else the error wraps ErrUntrustedLink. So do all functions of this package that take a path.
func Find(path string, hook FaultHook) (*Place, error) {
	if p := findDirect(path, hook); p != nil {
		return p, nil
	}
	w, err := walk(path)
	if err != nil {
		return nil, err
	}
	defer w.close()
	for {
		base := w.todo[len(w.todo)-1]
		if base == "" || base == "." || base == ".." {
			return nil, fmt.Errorf("open %s: %w but a folder", path, ErrNotRegular)
		}
		w.todo = w.todo[:len(w.todo)-1]
		if err := w.through(); err != nil {
			return nil, err
		}
		if len(w.todo) == 0 {
			to, err := w.link(base)
			if err != nil {
				return nil, err
			}
			if to != "" {
				w.todo = strings.Split(to, "/")
				continue
			}
		}
		return &Place{Dir: w.take(hook), Missing: w.todo, Base: base}, nil
	}
}

// findDirect is Find for a path without symbolic links, in one call; nil for other paths.
func findDirect(path string, hook FaultHook) *Place {
	dir, base := filepath.Split(path)
	if !filepath.IsAbs(path) || base == "" || base == "." || base == ".." {
		return nil
	}
	d := direct(dir)
	if d == nil {
		return nil
	}
	if _, err := unix.Readlinkat(d.fd, base, make([]byte, 1)); errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
		d.hook = hook
		return &Place{Dir: d, Base: base}
	}
	_ = d.Close() // nothing was written through it
	return nil
}

// Path is where the file is, without symbolic links.
func (p *Place) Path() string {
	return filepath.Join(append(append([]string{p.Dir.path}, p.Missing...), p.Base)...)
}

// MakeDirs makes the missing folders, with mode 0755 regardless of the umask, and makes them durable.
func (p *Place) MakeDirs() error {
	for len(p.Missing) > 0 {
		sub, err := p.Dir.makeDir(p.Missing[0], 0o755)
		if err != nil {
			return err
		}
		_ = p.Dir.Close() // nothing was written through it
		p.Dir, p.Missing = sub, p.Missing[1:]
	}
	return nil
}

// OpenDir opens a folder, which must exist.
func OpenDir(path string) (*Dir, error) {
	if filepath.IsAbs(path) {
		if d := direct(path); d != nil {
			return d, nil
		}
	}
	w, err := walk(path)
	if err != nil {
		return nil, err
	}
	defer w.close()
	if err := w.through(); err != nil {
		return nil, err
	}
	if len(w.todo) > 0 {
		return nil, fmt.Errorf("open the folder %s: %w", path, fs.ErrNotExist)
	}
	return w.take(nil), nil
}

// Resolve returns the path without symbolic links; see Find.
func Resolve(path string) (string, error) {
	p, err := Find(path, nil)
	if err != nil {
		return "", err
	}
	return p.Path(), p.Dir.Close()
}

// walker follows a path.
type walker struct {
	path  string   // as given
	fds   []int    // of the open folders, from the root
	names []string // of the open folders; "/" is the first
	todo  []string // the rest of the path
	links int
}

func walk(path string) (*walker, error) {
	if !filepath.IsAbs(path) {
		return nil, fmt.Errorf("the path %q is not absolute", path)
	}
	fd, err := openAt(unix.AT_FDCWD, "/", openFolder|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, fmt.Errorf("open the folder /: %w", Explain(err))
	}
	return &walker{path: path, fds: []int{fd}, names: []string{"/"}, todo: strings.Split(path, "/")}, nil
}

func (w *walker) close() {
	for _, fd := range w.fds {
		_ = unix.Close(fd) // it was read alone
	}
}

// here is the path of the last open folder.
func (w *walker) here() string { return filepath.Join(w.names...) }

// take returns the last open folder, which the caller closes.
func (w *walker) take(hook FaultHook) *Dir {
	last := len(w.fds) - 1
	d := &Dir{path: w.here(), fd: w.fds[last], hook: hook}
	w.fds = w.fds[:last]
	return d
}

// through opens one folder after the other, until the end or a missing one.
func (w *walker) through() error {
	for len(w.todo) > 0 {
		part := w.todo[0]
		switch part {
		case "", ".":
		case "..":
			w.back(max(1, len(w.fds)-1))
		default:
			more, err := w.step(part)
			if errors.Is(err, fs.ErrNotExist) {
				return w.plain()
			}
			if err != nil {
				return err
			}
			w.todo = append(more, w.todo[1:]...)
			continue
		}
		w.todo = w.todo[1:]
	}
	return nil
}

// plain fails if a missing part is "..", and drops empty parts.
func (w *walker) plain() error {
	var names []string
	for _, part := range w.todo {
		switch part {
		case "..":
			return fmt.Errorf("open the folder %s: %w", filepath.Join(w.here(), w.todo[0]), fs.ErrNotExist)
		case "", ".":
		default:
			names = append(names, part)
		}
	}
	w.todo = names
	return nil
}

// back closes all but the first n folders.
func (w *walker) back(n int) {
	for _, fd := range w.fds[n:] {
		_ = unix.Close(fd)
	}
	w.fds, w.names = w.fds[:n], w.names[:n]
}

// step opens the folder with this name, or returns the path of a link.
func (w *walker) step(name string) ([]string, error) {
	at := w.fds[len(w.fds)-1]
	fd, err := openAt(at, name, openFolder|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err == nil {
		w.fds, w.names = append(w.fds, fd), append(w.names, name)
		return nil, nil
	}
	if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) || errors.Is(err, unix.EMLINK) { // EMLINK: FreeBSD
		to, failed := w.link(name)
		if failed != nil {
			return nil, failed
		}
		if to != "" {
			return strings.Split(to, "/"), nil
		}
	}
	return nil, fmt.Errorf("open the folder %s: %w", filepath.Join(w.here(), name), Explain(err))
}

// link reads a symbolic link that is safe to follow, and goes to the root if its path is absolute. The result is "" if name is no
// link.
func (w *walker) link(name string) (string, error) {
	path := filepath.Join(w.here(), name)
	to := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(w.fds[len(w.fds)-1], name, to)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read the link %s: %w", path, Explain(err))
	}
	if w.links++; w.links > maxLinks {
		return "", fmt.Errorf("open %s: it has more than %d symbolic links", w.path, maxLinks)
	}
	var s unix.Stat_t
	if err := unix.Fstatat(w.fds[len(w.fds)-1], name, &s, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return "", fmt.Errorf("stat the link %s: %w", path, Explain(err))
	}
	const remedy = "name the file that the link leads to, or correct owner and mode"
	if !ours(s.Uid) {
		return "", fmt.Errorf("%s: %w: it belongs to %s; %s", path, ErrUntrustedLink, userName(s.Uid), remedy)
	}
	for i, fd := range w.fds {
		folder := filepath.Join(w.names[:i+1]...)
		if err := unix.Fstat(fd, &s); err != nil {
			return "", fmt.Errorf("stat the folder %s: %w", folder, Explain(err))
		}
		if why := unsafeFolder(s); why != "" {
			return "", fmt.Errorf("%s: %w: the folder %s %s; %s", path, ErrUntrustedLink, folder, why, remedy)
		}
	}
	if to[0] == '/' {
		w.back(1)
	}
	return string(to[:n]), nil
}

// unsafeFolder says why others can replace the entries of a folder; "" if they cannot. In a sticky folder such as /tmp others can
// add entries, but not replace ours.
func unsafeFolder(s unix.Stat_t) string {
	if !ours(s.Uid) {
		return "belongs to " + userName(s.Uid)
	}
	if s.Mode&0o022 != 0 && s.Mode&unix.S_ISVTX == 0 {
		return fmt.Sprintf("is writable for others (mode %04o; see `chmod go-w`)", s.Mode&0o7777)
	}
	return ""
}

func ours(uid uint32) bool { return uid == 0 || int(uid) == os.Geteuid() }

func userName(uid uint32) string {
	id := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(id); err == nil {
		return fmt.Sprintf("%s (uid %s)", u.Username, id)
	}
	return "uid " + id
}
