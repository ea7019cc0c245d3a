package consulapi

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

// maxTokenFile is the largest token file, in bytes.
const maxTokenFile = 1 << 20

// LoadTokens reads a token file, which must satisfy ReadSecret.
func LoadTokens(path string) (*Tokens, error) {
	b, err := ReadSecret(path, maxTokenFile)
	if err != nil {
		return nil, err
	}
	t, err := ParseTokens(b)
	if err == nil && t.Len() == 0 && !t.Anonymous() {
		err = errEmpty
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

// ReadSecret reads a regular file of at most limit bytes. Only its owner, which must be root or this user, and its group may read
// it, and only its owner may write it. Symbolic links are followed.
func ReadSecret(path string, limit int64) (b []byte, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // do not block on a FIFO
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	if perm := info.Mode().Perm(); perm&^0o640 != 0 {
		return nil, fmt.Errorf("%s contains secrets and has mode %04o; run: chmod 0600 %s", path, perm, path)
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok && owner.Uid != 0 && int(owner.Uid) != os.Geteuid() {
		return nil, fmt.Errorf("%s belongs to uid %d, who could change the permissions; run: chown %d %s",
			path, owner.Uid, os.Geteuid(), path)
	}
	if b, err = io.ReadAll(io.LimitReader(f, limit+1)); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%s has more than %d bytes", path, limit)
	}
	return b, nil
}

var errEmpty = errors.New("it has no token and no anonymous block, so every request would be denied")
