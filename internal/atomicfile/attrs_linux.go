package atomicfile

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

const aclXattr = "system.posix_acl_access"

// maxXattr is the most bytes that one attribute, or the list of their names,
// may have: the kernel's own limit.
const maxXattr = 64 << 10

// copyXattrs makes the attributes of to those of from: user.*, the SELinux
// label and the ACL. An ACL that to inherited from its folder goes if from has
// none. A file system without attributes has nothing to copy.
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
	// To ask costs nothing; to remove what is not there is a transaction of the
	// file system.
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
	value := make([]byte, maxXattr)
	n, err := unix.Fgetxattr(int(from.Fd()), name, value)
	if err != nil {
		return err
	}
	have := make([]byte, maxXattr)
	if m, err := unix.Fgetxattr(int(to.Fd()), name, have); err == nil && string(have[:m]) == string(value[:n]) {
		return nil // an unprivileged process may not set even the same SELinux label
	}
	return unix.Fsetxattr(int(to.Fd()), name, value[:n], 0)
}
