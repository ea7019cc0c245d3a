package deliver

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"kvexpress/internal/atomicfile"
	"kvexpress/internal/kv"
)

// maxState is the most bytes of a state file that are read.
const maxState = 64 << 10

// stateFormat is the format of state files. Another one is treated as damage,
// which is safe: see load.
const stateFormat = 1

// mark names bytes and where they came from.
type mark struct {
	Key     string `json:"key"`
	Lineage string `json:"lineage,omitempty"`
	Version uint64 `json:"version,omitempty"`
	SHA256  string `json:"sha256"`
}

// pending is an install that was begun. It is written before the staged file
// exists, and taken back when the install is over.
type pending struct {
	mark
	Before  string `json:"before,omitempty"` // SHA-256 of the file that is to be replaced
	Temp    string `json:"temp"`             // name of the staged file
	InPlace bool   `json:"in_place,omitempty"`
}

// state is what a node remembers of one file.
type state struct {
	Format    int    `json:"format"`
	File      string `json:"file"`
	Installed mark   `json:"installed"`
	// Executed is the SHA-256 of the last bytes for which the exec succeeded.
	// An exec is owed when the bytes on disk are others.
	Executed string `json:"executed"`
	// Lately is what Executed was since the state was last made durable: a power
	// loss may bring a state back that says so.
	Lately  []string `json:"lately,omitempty"`
	Pending *pending `json:"pending,omitempty"`
	// Boot is the start of the machine in which the state was written.
	Boot string `json:"boot,omitempty"`
}

// maxLately is how long Lately may get before the state is made durable.
const maxLately = 8

// stateFile is the state of one file, where it is kept, and whether it was
// there.
type stateFile struct {
	dir  string
	path string
	state
	found   bool
	damaged bool
}

// BootID names this start of the machine: another one means that what was not
// durable may be gone. It is "" where the system does not tell; then more is made
// durable.
func BootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil || len(b) > 64 {
		return ""
	}
	return strings.TrimSpace(string(b))
}

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

// load reads the state of a file. A missing one is an empty state: the file, if
// it is current, is adopted. A damaged one is a state that owes an exec: to run
// it once more is safe, to forget it is not.
func loadState(dir, file string) (*stateFile, error) {
	sum := sha256.Sum256([]byte(file))
	s := &stateFile{dir: dir, path: filepath.Join(dir, "targets", hex.EncodeToString(sum[:])+".json")}
	fresh := state{Format: stateFormat, File: file}
	s.state = fresh
	f, err := os.Open(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, &StateError{Dir: dir, Err: err}
	}
	b, err := io.ReadAll(io.LimitReader(f, maxState+1))
	err = errors.Join(err, f.Close())
	if err != nil {
		return nil, &StateError{Dir: dir, Err: err}
	}
	s.found = true
	if len(b) > maxState || json.Unmarshal(b, &s.state) != nil || s.Format != stateFormat || s.File != file {
		s.state, s.damaged = fresh, true
	}
	return s, nil
}

// save writes the state. One that is not durable outlives the process, but a power
// loss may bring an older one back, or a damaged one, which owes an exec. That is
// harmless, with two exceptions, for which begin makes it durable; and a staged
// file that nobody knows of, for which recover looks after a power loss.
func (s *stateFile) save(durable bool) error {
	durable = durable || !s.found
	if durable {
		s.Lately = nil
	}
	b, err := json.Marshal(s.state)
	if err != nil {
		return &StateError{Dir: s.dir, Err: err}
	}
	if !s.found {
		if err := makePrivate(s.dir, filepath.Dir(s.path)); err != nil {
			return &StateError{Dir: s.dir, Err: err}
		}
	}
	if err := atomicfile.WriteFile(s.path, b, durable, nil); err != nil {
		return &StateError{Dir: s.dir, Err: err}
	}
	s.found, s.damaged = true, false
	return nil
}

// staged is the folder for the staged files of in-place targets.
func (s *stateFile) staged() (string, error) {
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
			return err
		}
	}
	return nil
}

// owed reports whether an exec is owed for bytes on disk.
func (s *stateFile) owed(sha string) bool { return s.Executed != sha }

// begin notes an install before it touches anything.
func (s *stateFile) begin(p pending) error {
	if !s.found {
		// The bytes on disk, if any, are from before our time: nothing is
		// owed for them.
		s.Executed = p.Before
	}
	// An older state that says that the exec ran for these very bytes would lose
	// it, and an overwrite that is cut off can only be completed by its note.
	durable := p.InPlace || s.Boot == "" || len(s.Lately) >= maxLately ||
		s.Executed == p.SHA256 || slices.Contains(s.Lately, p.SHA256)
	if s.Executed == p.SHA256 {
		// The same bytes come back after others: what reads them may have
		// seen the others, so the exec runs again.
		s.ran("")
	}
	s.Pending = &p
	return s.save(durable)
}

// ran notes for which bytes the exec ran.
func (s *stateFile) ran(sha string) {
	if s.Executed != sha {
		s.Lately = append(s.Lately, s.Executed)
		s.Executed = sha
	}
}

// abandon takes an install back that did not happen.
func (s *stateFile) abandon() error {
	s.Pending = nil
	return s.save(false)
}

// finish notes what is in place.
func (s *stateFile) finish(m mark) error {
	s.Installed, s.Pending = m, nil
	return s.save(false)
}

// describe is a note for people.
func (m mark) describe() string {
	if m.Version == 0 {
		return "an unmanaged version"
	}
	return fmt.Sprintf("version %d", m.Version)
}

func markOf(name string, sha string, m *kv.Manifest) mark {
	k := mark{Key: name, SHA256: sha}
	if m != nil {
		k.Lineage, k.Version = m.Lineage, m.Version
	}
	return k
}
