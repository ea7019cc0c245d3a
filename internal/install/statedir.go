package install

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"kvexpress/internal/atomicfile"
)

// DefaultStateDir is /var/lib/kvexpress for root, else kvexpress in
// $XDG_STATE_HOME or ~/.local/state.
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
	return "", errors.New("there is no place for the state: neither XDG_STATE_HOME nor HOME is set; choose one with --state-dir")
}

// stateFolder is the state folder, opened when it is needed.
type stateFolder struct {
	path string
	dir  *atomicfile.Dir
}

// open opens the folder name of the state folder. With make, missing folders are made.
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

// nameOf is the name that the state folder has for a file.
func nameOf(file string) string {
	sum := sha256.Sum256([]byte(file))
	return hex.EncodeToString(sum[:])
}

// staging opens the folder for the copy of an in-place target, which holds nothing else.
func (tx *transaction) staging() (*atomicfile.Dir, error) {
	dir, err := tx.folder.open(stagedFolder, true)
	if err != nil {
		return nil, &StateError{Dir: tx.StateDir, Err: err}
	}
	sub, err := dir.Private(nameOf(tx.path), true)
	if err := errors.Join(err, dir.Close()); err != nil {
		return nil, &StateError{Dir: tx.StateDir, Err: err}
	}
	return sub, nil
}

const stagedFolder = "staged"

// removeStaged removes the copy of an in-place target, and its folder.
func (tx *transaction) removeStaged() error {
	dir, err := tx.folder.open(stagedFolder, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(dir.RemoveAll(nameOf(tx.path)), dir.Close())
}
