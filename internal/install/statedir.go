package install

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"

	"kvexpress/internal/atomicfile"
)

// DefaultStateDir is /var/lib/kvexpress for root, else kvexpress in $XDG_STATE_HOME or ~/.local/state.
func DefaultStateDir(getenv func(string) string) (string, error) {
	if os.Geteuid() == 0 {
		return "/var/lib/kvexpress", nil
	}
	if dir := getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "kvexpress"), nil
	}
	if home := getenv("HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, ".local", "state", "kvexpress"), nil
	}
	return "", errors.New("no folder for the state: neither XDG_STATE_HOME nor HOME is set; choose one with --state-dir")
}

// stateFolder is the state folder. It is opened on first use.
type stateFolder struct {
	path string
	dir  *atomicfile.Dir
}

// open opens a folder of the state folder. With make, it makes missing folders.
func (s *stateFolder) open(name string, make bool) (*atomicfile.Dir, error) {
	if s.dir == nil {
		var err error
		if s.dir, err = atomicfile.OpenPrivate(s.path, make); err != nil {
			return nil, err
		}
	}
	return s.dir.Private(name, make)
}

func (s *stateFolder) close() error {
	err := s.dir.Close()
	s.dir = nil
	return err
}

// nameOf is the name of a file in the state folder.
func nameOf(file string) string {
	sum := sha256.Sum256([]byte(file))
	return hex.EncodeToString(sum[:])
}
