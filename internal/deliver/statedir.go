package deliver

import (
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

// stagedFolder is the folder for the staged files of in-place targets.
func (s *stateFile) stagedFolder() (string, error) {
	dir := stagedDir(s.dir)
	if err := makePrivate(s.dir, dir); err != nil {
		return "", &StateError{Dir: s.dir, Err: err}
	}
	return dir, nil
}

func stagedDir(stateDir string) string { return filepath.Join(stateDir, "staged") }

// makePrivate makes the state folder and one below it, mode 0700.
func makePrivate(dir, sub string) error {
	if err := atomicfile.MakeDirs(filepath.Dir(dir), nil); err != nil {
		return err
	}
	for _, d := range []string{dir, sub} {
		if err := os.Mkdir(d, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return atomicfile.Explain(err)
		}
	}
	return nil
}
