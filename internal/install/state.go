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

// origin names bytes and where they came from.
type origin struct {
	Key     string `json:"key"`
	Lineage string `json:"lineage,omitempty"`
	Version uint64 `json:"version,omitempty"`
	SHA256  string `json:"sha256"`
	// Rollout is the ID of the rollout whose candidate this is; "": it was the current version. Base is the current version that
	// the candidate replaced.
	Rollout    string `json:"rollout,omitempty"`
	Base       uint64 `json:"base,omitempty"`
	BaseSHA256 string `json:"base_sha256,omitempty"`
}

func (tx *transaction) originOf(sha string, m *kv.Manifest) origin {
	o := origin{Key: tx.target.name(), SHA256: sha}
	if m != nil {
		o.Lineage, o.Version = m.Lineage, m.Version
	}
	if tx.offer != nil {
		o.Rollout, o.Base, o.BaseSHA256 = tx.offer.ID, tx.offer.Base.Version, tx.offer.Base.SHA256
	}
	return o
}

// current is the number of the last version that was current.
func (o origin) current() uint64 {
	if o.Rollout != "" {
		return o.Base
	}
	return o.Version
}

// describe is for people.
func (o origin) describe() string {
	if o.Version == 0 {
		return "an unmanaged version"
	}
	return fmt.Sprintf("version %d", o.Version)
}

// overwriteNote is an overwrite that was begun. It is written before the copy of the new bytes exists, and removed when the
// overwrite is complete.
type overwriteNote struct {
	origin
	Before string `json:"before,omitempty"` // SHA-256 of the old file
}

// state is what a node remembers of one file.
type state struct {
	Format    int    `json:"format"`
	File      string `json:"file"`
	Installed origin `json:"installed"`
	// Executed is the SHA-256 of the last bytes for which the exec succeeded. If the bytes on disk are others, an exec is pending.
	Executed string `json:"executed"`
	// Earlier are the values of Executed since the state was last made durable. A power loss may bring each of them back.
	Earlier   []string       `json:"earlier,omitempty"`
	Overwrite *overwriteNote `json:"overwrite,omitempty"`
	// Begun is a candidate whose install was begun. It is written before the candidate is in place, so a kill leaves none without
	// a note. A power loss may: then the file is of an unknown version, and the node gets again what is its version.
	Begun *origin `json:"begun,omitempty"`
	// Failed is the last candidate that failed here.
	Failed *Failure `json:"failed,omitempty"`
}

// of is the origin of these bytes, as far as it is known.
func (s *state) of(sha string) origin {
	switch {
	case sha == "":
	case s.Installed.SHA256 == sha:
		return s.Installed
	case s.Begun != nil && s.Begun.SHA256 == sha:
		return *s.Begun
	}
	return origin{SHA256: sha}
}

// StateFormat is the format of state files. Another one counts as damage, which is safe.
const StateFormat = 1

const (
	maxState      = 64 << 10  // bytes
	maxEarlier    = 8         // then the state is made durable
	stateBlock    = 1024      // state files have a whole number of blocks
	targetsFolder = "targets" // of the state folder: it has the state files
)

// stateFile is the state of one file. The lock of the target is the lock of its state.
type stateFile struct {
	folder *stateFolder
	dir    *atomicfile.Dir // of the state files; nil if it does not exist
	name   string
	state
	found   bool
	damaged bool
	read    string // the content of the file, when it was read
	size    int    // of the file, in bytes
}

// loadState reads the state of a file. A missing state is empty: the file, if it is up to date, is adopted. With a damaged
// state the exec is pending: to run it once more is safe, to forget it is not.
func loadState(folder *stateFolder, file string) (*stateFile, error) {
	s := &stateFile{folder: folder, name: nameOf(file) + ".json"}
	s.state = state{Format: StateFormat, File: file}
	if err := s.load(); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, errors.Join(s.failed(err), s.close())
	}
	return s, nil
}

func (s *stateFile) failed(err error) error {
	if err == nil {
		return nil
	}
	return &StateError{Dir: s.folder.path, Err: err}
}

func (s *stateFile) load() (err error) {
	if s.dir, err = s.folder.open(targetsFolder, false); err != nil {
		return err
	}
	b, err := s.dir.ReadFile(s.name, maxState+1)
	if err != nil {
		return err
	}
	empty := s.state
	s.read, s.size, s.found = string(b), len(b), true
	if len(b) > maxState || json.Unmarshal(b, &s.state) != nil || s.Format != StateFormat || s.File != empty.File {
		s.state, s.damaged = empty, true
	}
	return nil
}

// changed reports whether another process wrote the state since it was read. The target is locked: what a killed process left is
// removed.
func (s *stateFile) changed() (_ bool, err error) {
	if s.dir == nil {
		s.dir, err = s.folder.open(targetsFolder, false)
	}
	var now []byte
	if err == nil {
		_ = s.dir.Sweep(s.name) // if it fails, the next save tells
		now, err = s.dir.ReadFile(s.name, maxState+1)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, s.failed(err)
	}
	return (err == nil) != s.found || string(now) != s.read, nil
}

func (s *stateFile) close() error {
	if s == nil {
		return nil
	}
	return s.dir.Close()
}

// save writes the state.
//
// A state that is not durable is written over the old one, in one call, which a kill does not cut: that needs no space, and
// hardly any work of the file system. A power loss may bring an older or a damaged one back. Then the exec is pending once
// more, which does no harm but in the cases for which begin makes the state durable.
func (s *stateFile) save(durable bool) error {
	durable = durable || !s.found || s.damaged
	if durable {
		s.Earlier, s.size = nil, 0
	}
	b, err := json.Marshal(s.state)
	if err != nil {
		return s.failed(err)
	}
	fill := max(s.size, (len(b)/stateBlock+1)*stateBlock) - len(b)
	b = append(append(b, bytes.Repeat([]byte{' '}, fill-1)...), '\n')
	if err := s.write(b, durable); err != nil {
		return s.failed(err)
	}
	s.found, s.damaged, s.size = true, false, len(b)
	return nil
}

func (s *stateFile) write(b []byte, durable bool) (err error) {
	if !durable {
		return s.overwrite(b)
	}
	if s.dir == nil {
		if s.dir, err = s.folder.open(targetsFolder, true); err != nil {
			return err
		}
	}
	return s.dir.WriteFile(s.name, b)
}

// overwrite writes b at the beginning of the file.
func (s *stateFile) overwrite(b []byte) error {
	f, err := s.dir.OpenFile(s.name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(b, 0)
	return errors.Join(atomicfile.Explain(err), f.Close())
}

// pending reports whether an exec is pending for these bytes on disk.
func (s *stateFile) pending(sha string) bool { return s.Executed != sha }

// begin prepares an install before it changes anything.
//
// Mostly there is nothing to write. A killed install leaves at most the new bytes, for which no exec ran, and a staged file,
// which the next lock holder removes. The state is made durable if an older one would say that the exec ran for the new bytes,
// and for an overwrite, which cannot be completed without its note.
func (s *stateFile) begin(o overwriteNote, inPlace bool) error {
	if !s.found {
		s.Executed = o.Before // no exec is pending for bytes from before the first install
	}
	if s.Begun != nil && s.Begun.SHA256 == o.Before {
		s.Installed = *s.Begun // a run was killed before it noted that
	}
	if s.Begun = nil; o.Rollout != "" {
		s.Begun = &o.origin
	}
	durable := !s.found || inPlace || len(s.Earlier) >= maxEarlier ||
		s.Executed == o.SHA256 || slices.Contains(s.Earlier, o.SHA256)
	if s.Executed == o.SHA256 {
		s.ran("") // the same bytes come back after others, which a service may have read: the exec runs again
	}
	if inPlace {
		s.Overwrite = &o
	}
	if durable || s.Begun != nil {
		return s.save(durable)
	}
	return s.failed(s.overwrite(nil)) // better now than when the file is in place
}

// abandon removes the note of an install that did not happen.
func (s *stateFile) abandon() error {
	if s.Overwrite == nil && s.Begun == nil {
		return nil
	}
	s.Overwrite, s.Begun = nil, nil
	return s.save(false)
}

// finish notes the bytes in place.
func (s *stateFile) finish(o origin) error {
	s.Installed, s.Overwrite, s.Begun = o, nil, nil
	return s.save(false)
}

// ran notes the bytes for which the exec ran.
func (s *stateFile) ran(sha string) {
	if s.Executed != sha {
		s.Earlier = append(s.Earlier, s.Executed)
		s.Executed = sha
	}
}
