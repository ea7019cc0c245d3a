package atomicfile

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// openFolder opens a folder without the right to read it.
const openFolder = unix.O_PATH

const aclXattr = "system.posix_acl_access"

// maxXattr is the most bytes of one attribute, or of the list of their names: the kernel's limit.
const maxXattr = 64 << 10

// copyXattrs copies the attributes user.*, the SELinux label and the ACL. If from has no ACL, it removes the one that to
// inherited from its folder. A file system without attributes has nothing to copy.
func copyXattrs(from, to *os.File) error {
	names, err := listXattrs(from)
	if err != nil {
		return err
	}
	hasACL := false
	for _, name := range names {
		if !strings.HasPrefix(name, "user.") && name != "security.selinux" && name != aclXattr {
			continue
		}
		hasACL = hasACL || name == aclXattr
		if err := copyXattr(from, to, name); err != nil {
			return fmt.Errorf("keep the attribute %q: %w", name, err)
		}
	}
	// To ask is cheap; to remove a missing one is a transaction of the file system.
	if _, err := unix.Fgetxattr(int(to.Fd()), aclXattr, nil); !hasACL && err == nil {
		err := unix.Fremovexattr(int(to.Fd()), aclXattr)
		if err != nil && !errors.Is(err, unix.ENODATA) && !errors.Is(err, unix.ENOTSUP) {
			return fmt.Errorf("drop the inherited ACL: %w", err)
		}
	}
	return nil
}

func listXattrs(f *os.File) ([]string, error) {
	buf := make([]byte, 512) // nearly always enough
	n, err := unix.Flistxattr(int(f.Fd()), buf)
	if errors.Is(err, unix.ERANGE) {
		buf = make([]byte, maxXattr)
		n, err = unix.Flistxattr(int(f.Fd()), buf)
	}
	if errors.Is(err, unix.ENOTSUP) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list the attributes: %w", err)
	}
	return strings.FieldsFunc(string(buf[:n]), func(r rune) bool { return r == 0 }), nil
}

func copyXattr(from, to *os.File, name string) error {
	value, have := make([]byte, maxXattr), make([]byte, maxXattr)
	n, err := unix.Fgetxattr(int(from.Fd()), name, value)
	if err != nil {
		return err
	}
	if m, err := unix.Fgetxattr(int(to.Fd()), name, have); err == nil && string(have[:m]) == string(value[:n]) {
		return nil // an unprivileged process cannot set even the same SELinux label
	}
	return unix.Fsetxattr(int(to.Fd()), name, value[:n], 0)
}

// writersACL is the ACL of a folder with rwx for its writers, and nothing for all others; nil if it has no ACL.
func writersACL(folder *Dir) []byte {
	f, err := folder.OpenFile(".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil // it is closed to us: the mode must do
	}
	defer func() { _ = f.Close() }() // it was read alone
	acl := make([]byte, maxXattr)
	n, err := unix.Fgetxattr(int(f.Fd()), aclXattr, acl)
	if err != nil { // ENODATA, ENOTSUP
		return nil
	}
	// 4 bytes for the version; then for each entry 2 for the tag, 2 for the permissions and 4 for the id.
	for i := 4; i+8 <= n; i += 8 {
		if acl[i+2]&2 == 0 {
			acl[i+2] = 0
		} else {
			acl[i+2] = 7
		}
	}
	return acl[:n]
}

// setACL replaces the ACL that a folder inherited.
func setACL(d *Dir, acl []byte) error {
	if acl != nil {
		return unix.Fsetxattr(d.fd, aclXattr, acl, 0)
	}
	if _, err := unix.Fgetxattr(d.fd, aclXattr, nil); err == nil {
		return unix.Fremovexattr(d.fd, aclXattr)
	}
	return nil // there is none
}
