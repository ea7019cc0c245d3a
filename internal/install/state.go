package install

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
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

// pending is an install that was begun. For an overwrite it is written before the copy
// of the new bytes exists, and taken back when the overwrite is over.
type pending struct {
	mark
	Before string `json:"before,omitempty"` // SHA-256 of the file that is to be replaced
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
	Pending *pending `json:"pending,omitempty"` // an overwrite
}

// maxLately is how long Lately may get before the state is made durable.
const maxLately = 8

// stateFile is the state of one file, where it is kept, and whether it was
// there. The lock of the target is the lock of its state.
type stateFile struct {
	folder *stateFolder
	dir    *atomicfile.Dir // the folder of the state files; nil if there is none
	name   string
	state
	found   bool
	damaged bool
	file    *os.File // nil if it was not found
	fixed   error    // why file cannot be written
	read    string   // what it held when it was opened
	size    int      // of the file, in bytes
}

const targetsFolder = "targets"

// loadState reads the state of a file. A missing one is an empty state: the file, if
// it is current, is adopted. A damaged one is a state that owes an exec: to run
// it once more is safe, to forget it is not.
func loadState(folder *stateFolder, file string) (*stateFile, error) {
	s := &stateFile{folder: folder, name: nameOf(file) + ".json"}
	s.state = state{Format: stateFormat, File: file}
	err := s.load()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, errors.Join(&StateError{Dir: folder.path, Err: err}, s.close())
	}
	return s, nil
}

func (s *stateFile) load() (err error) {
	if s.dir, err = s.folder.open(targetsFolder, false); err != nil {
		return err
	}
	f, b, fixed, err := s.dir.OpenSmall(s.name, maxState)
	if err != nil {
		return err
	}
	fresh := s.state
	s.file, s.fixed, s.read = f, fixed, string(b)
	s.found, s.size = true, len(b)
	if len(b) > maxState || json.Unmarshal(b, &s.state) != nil || s.Format != stateFormat || s.File != fresh.File {
		s.state, s.damaged = fresh, true
	}
	return nil
}

// changed reports whether another process wrote the state since it was read.
func (s *stateFile) changed() (bool, error) {
	now, err := loadState(s.folder, s.File)
	if err != nil {
		return false, err
	}
	return now.found != s.found || now.read != s.read, now.close()
}

// unfinished reports whether a run was cut off that only the state tells of.
func (s *stateFile) unfinished() bool {
	return s.Pending != nil || s.damaged
}

func (s *stateFile) close() error {
	if s == nil {
		return nil
	}
	var err error
	if s.file != nil {
		err = s.file.Close()
		s.file = nil
	}
	err = errors.Join(err, s.dir.Close())
	s.dir = nil
	return err
}

// blank is what a state file is filled up with, to a whole number of blocks.
const blank = 1024

// save writes the state.
//
// One that is not durable is written over the old one, in one call, which a kill
// does not cut: it needs no space and hardly any work of the file system. A power
// loss may bring an older one back, or a damaged one, which owes an exec. That does
// no harm but in the cases for which begin makes it durable.
func (s *stateFile) save(durable bool) error {
	durable = durable || !s.found || s.damaged
	if durable {
		s.Lately = nil
	}
	b, err := json.Marshal(s.state)
	if err != nil {
		return &StateError{Dir: s.folder.path, Err: err}
	}
	if durable {
		s.size = 0 // a new file
	}
	fill := max(s.size, (len(b)/blank+1)*blank) - len(b)
	b = append(append(b, bytes.Repeat([]byte{' '}, fill-1)...), '\n')
	if err := s.write(b, durable); err != nil {
		return &StateError{Dir: s.folder.path, Err: err}
	}
	s.found, s.damaged, s.size = true, false, len(b)
	return nil
}

func (s *stateFile) write(b []byte, durable bool) error {
	if s.fixed != nil {
		return s.fixed
	}
	if !durable {
		_, err := s.file.WriteAt(b, 0) // one call
		return atomicfile.Explain(err)
	}
	if s.dir == nil {
		var err error
		if s.dir, err = s.folder.open(targetsFolder, true); err != nil {
			return err
		}
	}
	if err := s.dir.WriteFile(s.name, b); err != nil {
		return err
	}
	if s.file != nil {
		if err := s.file.Close(); err != nil {
			return err
		}
	}
	var err error
	s.file, _, s.fixed, err = s.dir.OpenSmall(s.name, maxState)
	return err
}

// owed reports whether an exec is owed for bytes on disk.
func (s *stateFile) owed(sha string) bool { return s.Executed != sha }

// begin prepares an install before it touches anything.
//
// Mostly there is nothing to write: of an install that is cut off there are at most
// the new bytes, for which no exec ran, and a staged file, which the next lock removes. There
// is, and durably, where an older state would say that the exec ran for these very
// bytes, and for an overwrite, which its note alone can complete.
func (s *stateFile) begin(p pending, inPlace bool) error {
	if !s.found {
		// The bytes on disk, if any, are from before our time: nothing is
		// owed for them.
		s.Executed = p.Before
	}
	durable := !s.found || inPlace || len(s.Lately) >= maxLately ||
		s.Executed == p.SHA256 || slices.Contains(s.Lately, p.SHA256)
	if s.Executed == p.SHA256 {
		// The same bytes come back after others: what reads them may have
		// seen the others, so the exec runs again.
		s.ran("")
	}
	if inPlace {
		s.Pending = &p
	}
	if durable {
		return s.save(true)
	}
	if s.fixed != nil { // better now than when the file is in place
		return &StateError{Dir: s.folder.path, Err: s.fixed}
	}
	return nil
}

// abandon takes an install back that did not happen.
func (s *stateFile) abandon() error {
	if s.Pending == nil {
		return nil
	}
	s.Pending = nil
	return s.save(false)
}

// finish notes what is in place.
func (s *stateFile) finish(m mark) error {
	s.Installed, s.Pending = m, nil
	return s.save(false)
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
