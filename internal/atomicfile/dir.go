package atomicfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Dir is an opened folder.
type Dir struct {
	path string // without symbolic links
	fd   int
	hook FaultHook
}

// Path is where the folder was when it was opened.
func (d *Dir) Path() string { return d.path }

// Close gives the folder back. It may be called twice.
func (d *Dir) Close() error {
	if d == nil || d.fd < 0 {
		return nil
	}
	err := Explain(unix.Close(d.fd))
	d.fd = -1
	return err
}

// Private opens the folder name. It refuses a folder that another user owns or can write to. With make, it makes a missing one
// with mode 0700.
func (d *Dir) Private(name string, make bool) (*Dir, error) {
	sub, err := d.sub(name)
	if make && errors.Is(err, fs.ErrNotExist) {
		sub, err = d.makeDir(name, 0o700)
	}
	if err != nil {
		return nil, err
	}
	if err := sub.private(); err != nil {
		return nil, errors.Join(err, sub.Close())
	}
	return sub, nil
}

// OpenPrivate is Private for a path. With make, it makes the folders above too, with mode 0755.
func OpenPrivate(path string, make bool) (*Dir, error) {
	p, err := Find(path, nil)
	if err != nil {
		return nil, err
	}
	defer func() { _ = p.Dir.Close() }() // nothing was written through it
	if !make && len(p.Missing) > 0 {
		return nil, fmt.Errorf("open the folder %s: %w", path, fs.ErrNotExist)
	}
	if err := p.MakeDirs(); err != nil {
		return nil, err
	}
	return p.Dir.Private(p.Base, make)
}

func (d *Dir) private() error {
	s, err := d.statSelf()
	switch {
	case err != nil:
		return err
	case !ours(s.Uid):
		return fmt.Errorf("the folder %s belongs to %s: remove it, or choose another", d.path, userName(s.Uid))
	case s.Mode&0o022 != 0:
		return fmt.Errorf("the folder %s is writable for others (mode %04o): run `chmod go-w %s`", d.path, s.Mode&0o7777, d.path)
	}
	return nil
}

// sub opens a folder of this one, and no link.
func (d *Dir) sub(name string) (*Dir, error) { return d.open(name, unix.O_RDONLY) }

func (d *Dir) open(name string, flags int) (*Dir, error) {
	path := filepath.Join(d.path, name)
	fd, err := openAt(d.fd, name, flags|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, fmt.Errorf("open the folder %s: %w", path, Explain(err))
	}
	return &Dir{path: path, fd: fd, hook: d.hook}, nil
}

// makeDir makes a folder, regardless of the umask, makes it durable and opens it. Another process may make it first.
func (d *Dir) makeDir(name string, mode uint32) (*Dir, error) {
	path := filepath.Join(d.path, name)
	err := d.hook.Before(AtMakeDirs)
	if err == nil {
		err = unix.Mkdirat(d.fd, name, mode)
	}
	made := err == nil
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("make the folder %s: %w", path, Explain(err))
	}
	sub, err := d.sub(name)
	if err != nil {
		return nil, err
	}
	if made {
		if err := errors.Join(sub.widen(mode), d.sync()); err != nil {
			return nil, errors.Join(fmt.Errorf("make the folder %s: %w", path, Explain(err)), sub.Close())
		}
	}
	return sub, nil
}

// widen sets the bits that the umask took from a folder that we made. If another user put a folder in its place, that one is not
// ours, or not empty, and stays as it is.
func (d *Dir) widen(mode uint32) error {
	s, err := d.statSelf()
	if err != nil || bits(s.Mode)&0o777 == mode {
		return err
	}
	if int(s.Uid) != os.Geteuid() || !d.empty() {
		return errors.New("another process replaced it")
	}
	return unix.Fchmod(d.fd, bits(s.Mode)&^0o777|mode)
}

func (d *Dir) statSelf() (s unix.Stat_t, err error) {
	if err := unix.Fstat(d.fd, &s); err != nil {
		return s, fmt.Errorf("stat the folder %s: %w", d.path, Explain(err))
	}
	return s, nil
}

// stat describes an entry, without following it.
func (d *Dir) stat(name string) (s unix.Stat_t, err error) {
	err = unix.Fstatat(d.fd, name, &s, unix.AT_SYMLINK_NOFOLLOW)
	return s, err
}

// Has reports whether there is an entry with this name.
func (d *Dir) Has(name string) bool {
	_, err := d.stat(name)
	return err == nil
}

// OpenFile opens a file of the folder, and no link.
func (d *Dir) OpenFile(name string, flags int, mode uint32) (*os.File, error) {
	fd, err := openAt(d.fd, name, flags|unix.O_NOFOLLOW, mode)
	if err != nil {
		return nil, Explain(err)
	}
	return os.NewFile(uintptr(fd), filepath.Join(d.path, name)), nil
}

func openAt(fd int, name string, flags int, mode uint32) (opened int, err error) {
	err = again(func() error {
		opened, err = unix.Openat(fd, name, flags|unix.O_CLOEXEC, mode)
		return err
	})
	return opened, err
}

// ReadFile reads at most so many bytes of a file of the folder.
func (d *Dir) ReadFile(name string, most int64) ([]byte, error) {
	f, err := d.OpenFile(name, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	b.Grow(4 << 10) // a state is read in one call
	_, err = b.ReadFrom(io.LimitReader(f, most))
	return b.Bytes(), errors.Join(Explain(err), f.Close())
}

// names lists the entries.
func (d *Dir) names() ([]string, error) {
	f, err := d.OpenFile(".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	names, err := f.Readdirnames(-1)
	return names, errors.Join(Explain(err), f.Close())
}

func (d *Dir) empty() bool {
	names, err := d.names()
	return err == nil && len(names) == 0
}

// Remove removes a file of the folder; a missing one is no error.
func (d *Dir) Remove(name string) error { return d.unlink(name, 0) }

// RemoveAll removes a folder of this one with its content; a missing one is no error.
func (d *Dir) RemoveAll(name string) error {
	sub, err := d.sub(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(sub.clear(), sub.Close(), d.removeDir(name))
}

// removeDir removes an empty folder of this one; a missing one is no error.
func (d *Dir) removeDir(name string) error { return d.unlink(name, unix.AT_REMOVEDIR) }

func (d *Dir) unlink(name string, flags int) error {
	err := again(func() error { return unix.Unlinkat(d.fd, name, flags) })
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return fmt.Errorf("remove %s: %w", filepath.Join(d.path, name), Explain(err))
}

// clear removes the content of the folder, which may have folders: a check may have made some.
func (d *Dir) clear() error {
	names, err := d.names()
	if err != nil {
		return fmt.Errorf("list the folder %s: %w", d.path, err)
	}
	for _, name := range names {
		err := d.Remove(name)
		if errors.Is(err, unix.EISDIR) || errors.Is(err, unix.EPERM) { // EPERM: POSIX systems other than Linux
			err = d.RemoveAll(name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// again retries a system call that a signal interrupted.
func again(do func() error) error {
	for {
		if err := do(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// stillThere fails if the path leads to another folder by now.
func (d *Dir) stillThere() error {
	opened, err := d.statSelf()
	if err != nil {
		return err
	}
	var now unix.Stat_t
	if err := unix.Lstat(d.path, &now); err != nil {
		return fmt.Errorf("stat the folder %s: %w", d.path, Explain(err))
	}
	if opened.Dev != now.Dev || opened.Ino != now.Ino {
		return fmt.Errorf("the folder %s was replaced by another while its file was being written", d.path)
	}
	return nil
}

// Sync makes the entries of the folder durable.
func (d *Dir) Sync() error {
	if err := d.sync(); err != nil {
		return &SyncError{Path: d.path, Err: Explain(err)}
	}
	return nil
}

func (d *Dir) sync() error {
	f, err := d.OpenFile(".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if errors.Is(err, unix.EACCES) {
		return nil // we cannot read it; the file system makes the rename durable within seconds
	}
	if err != nil {
		return err
	}
	err = f.Sync()
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTSUP) {
		err = nil // some file systems cannot fsync a folder
	}
	return errors.Join(err, f.Close())
}

// bits are those of a mode, whose type depends on the system.
func bits[T uint16 | uint32](mode T) uint32 { return uint32(mode) }
