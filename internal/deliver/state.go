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
	staged  *state // what finish will say, already written beside it
}

// loadState reads the state of a file. A missing one is an empty state: the file, if
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
// loss may bring an older one back, or a damaged one, which owes an exec. That does
// no harm but in the cases for which begin makes it durable.
func (s *stateFile) save(durable bool) error {
	durable = durable || !s.found
	if durable {
		s.Lately = nil
	}
	s.staged = nil // it is overwritten
	if err := s.write(s.state); err != nil {
		return err
	}
	if err := atomicfile.CommitFile(s.path, durable); err != nil {
		return &StateError{Dir: s.dir, Err: err}
	}
	s.found, s.damaged = true, false
	return nil
}

// write writes what the state is to be beside it.
func (s *stateFile) write(next state) error {
	b, err := json.Marshal(next)
	if err == nil && !s.found {
		err = makePrivate(s.dir, filepath.Dir(s.path))
	}
	if err == nil {
		err = atomicfile.StageFile(s.path, b)
	}
	if err != nil {
		return &StateError{Dir: s.dir, Err: err}
	}
	return nil
}

// owed reports whether an exec is owed for bytes on disk.
func (s *stateFile) owed(sha string) bool { return s.Executed != sha }

// begin prepares an install before it touches anything, and finds out whether the
// state can be written. What the install will have done is written beside the
// state: to put that in place is all that is left to do after it.
//
// Nothing is durable of that, and nothing needs to be: of an install that is cut
// off there are at most the new bytes, for which no exec ran, and a staged file,
// which sweep finds. But it is, where an older state would say that the exec ran
// for these very bytes, and for an overwrite, which its note alone can complete.
func (s *stateFile) begin(p pending) error {
	if !s.found {
		// The bytes on disk, if any, are from before our time: nothing is
		// owed for them.
		s.Executed = p.Before
	}
	durable := !s.found || p.InPlace || len(s.Lately) >= maxLately ||
		s.Executed == p.SHA256 || slices.Contains(s.Lately, p.SHA256)
	if s.Executed == p.SHA256 {
		// The same bytes come back after others: what reads them may have
		// seen the others, so the exec runs again.
		s.ran("")
	}
	if p.InPlace {
		s.Pending = &p
	}
	if durable {
		if err := s.save(true); err != nil {
			return err
		}
	}
	next := s.state
	next.Installed, next.Pending = p.mark, nil
	s.staged = &next
	return s.write(next)
}

// abandon takes an install back that did not happen.
func (s *stateFile) abandon() error {
	if s.Pending == nil {
		return s.tidy()
	}
	s.Pending = nil
	return s.save(false)
}

// tidy removes what was written for a finish that did not come.
func (s *stateFile) tidy() error {
	if s == nil || s.staged == nil {
		return nil
	}
	s.staged = nil
	return atomicfile.Sweep(s.path)
}

// finish notes what is in place.
func (s *stateFile) finish(m mark) error {
	if s.staged == nil || s.staged.Installed != m {
		s.Installed, s.Pending = m, nil
		return s.save(false)
	}
	s.state, s.staged = *s.staged, nil
	if err := atomicfile.CommitFile(s.path, false); err != nil {
		return &StateError{Dir: s.dir, Err: err}
	}
	return nil
}

// ran notes for which bytes the exec ran.
func (s *stateFile) ran(sha string) {
	if s.Executed != sha {
		s.Lately = append(s.Lately, s.Executed)
		s.Executed = sha
	}
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
