package atomicfile

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Attrs is what a staged file gets before it is put in place.
type Attrs struct {
	Mode     fs.FileMode // permission, setuid, setgid and sticky bits
	UID, GID int         // negative: as the new file has them
	// Like is the file whose user.* attributes, SELinux label and ACL are
	// taken over; nil for a new file.
	Like *os.File
}

// Staged is a complete, durable file beside its target that is not yet in
// place.
type Staged struct {
	dir  *Dir
	file *os.File
	name string
}

// TempName returns a new name for a staged file of the target base. It is unique,
// so that O_EXCL keeps anybody from preparing it, and short, so that it fits
// wherever the target's name does. It begins with a mark of base: see SweepTemps.
func TempName(base string) string {
	var b [tempRandom]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the program instead
	return tempMark(base) + hex.EncodeToString(b[:])
}

// tempMark is what the names of all staged files of base begin with.
func tempMark(base string) string {
	sum := sha256.Sum256([]byte(base))
	return tempPrefix + hex.EncodeToString(sum[:8-tempRandom])
}

// tempRandom is how many of a name's 8 bytes are random.
const tempRandom = 5

const tempPrefix = ".kvexpress-"

// IsTempName reports whether TempName could have made the name: what is found
// in a state file is removed only then.
func IsTempName(name string) bool {
	rest, ok := strings.CutPrefix(name, tempPrefix)
	if !ok || len(rest) != 16 {
		return false
	}
	_, err := hex.DecodeString(rest)
	return err == nil
}

// Stage writes content to a new file with the given name (of TempName), with
// its attributes, and fsyncs it. It is not readable by others until owner and
// mode are right. After an error nothing is left.
func (d *Dir) Stage(name string, content []byte, a Attrs) (*Staged, error) {
	s := &Staged{dir: d, name: name}
	if err := s.fill(content, a); err != nil {
		return nil, errors.Join(fmt.Errorf("write a new file in the folder %s: %w", d.path, err), s.Discard())
	}
	return s, nil
}

func (s *Staged) fill(content []byte, a Attrs) error {
	hook := s.dir.hook
	if err := hook.before(StepCreate); err != nil {
		return err
	}
	f, err := s.dir.root.OpenFile(s.name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return Explain(err)
	}
	s.file = f
	// The lock goes into place with the file: whoever opens the target after
	// the rename waits until we are through.
	if err := tryLock(f); err != nil {
		return err
	}
	if err := hook.before(StepWrite); err != nil {
		return err
	}
	if err := writeAll(f, content); err != nil {
		return err
	}
	if err := setAttrs(f, a, hook); err != nil {
		return err
	}
	if err := hook.before(StepSync); err != nil {
		return err
	}
	return Explain(f.Sync())
}

// setAttrs goes from owner to attributes to mode: a change of owner clears
// setuid, and an ACL is reflected in the group bits of the mode.
func setAttrs(f *os.File, a Attrs, hook Hook) error {
	if err := hook.before(StepOwner); err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return Explain(err)
	}
	uid, gid := Owner(info)
	if (a.UID >= 0 && uid != a.UID) || (a.GID >= 0 && gid != a.GID) {
		if err := f.Chown(a.UID, a.GID); err != nil {
			return fmt.Errorf("give it to uid %d, gid %d: %w", a.UID, a.GID, Explain(err))
		}
	}
	if err := hook.before(StepXattrs); err != nil {
		return err
	}
	if a.Like != nil {
		if err := copyXattrs(a.Like, f); err != nil {
			return Explain(err)
		}
	}
	if err := hook.before(StepMode); err != nil {
		return err
	}
	return Explain(f.Chmod(a.Mode))
}

// Path is where the staged file is.
func (s *Staged) Path() string { return filepath.Join(s.dir.path, s.name) }

// Holds reports whether the staged file still has this content: a check that
// was run on it may have written to it.
func (s *Staged) Holds(content []byte) (bool, error) {
	info, err := s.file.Stat()
	if err != nil {
		return false, fmt.Errorf("look at %s: %w", s.Path(), Explain(err))
	}
	if info.Size() != int64(len(content)) {
		return false, nil
	}
	now := make([]byte, len(content))
	if _, err := s.file.ReadAt(now, 0); err != nil && !errors.Is(err, io.EOF) {
		return false, fmt.Errorf("read %s: %w", s.Path(), Explain(err))
	}
	return bytes.Equal(now, content), nil
}

// Commit puts the staged file in the place of base and makes that durable.
// In doubt the error of a rename is returned with the staged file still there:
// call Discard. An error of the folder's fsync comes after the file is in
// place: it is a *SyncError.
func (s *Staged) Commit(base string) error {
	if err := s.dir.stillThere(); err != nil {
		return err
	}
	mine, err := s.file.Stat()
	if err != nil {
		return fmt.Errorf("look at %s: %w", s.Path(), Explain(err))
	}
	there, err := s.dir.root.Lstat(s.name)
	if err != nil || !os.SameFile(mine, there) {
		return fmt.Errorf("%s is no longer the file that was staged", s.Path())
	}
	if err := s.dir.hook.before(StepRename); err != nil {
		return &RenameError{Path: filepath.Join(s.dir.path, base), Err: err}
	}
	if err := s.dir.rename(s.name, base); err != nil {
		return &RenameError{Path: filepath.Join(s.dir.path, base), Err: Explain(err)}
	}
	s.name = ""
	if err := s.dir.hook.before(StepSyncDir); err != nil {
		return &SyncError{Path: s.dir.path, Err: err}
	}
	return s.dir.Sync()
}

// Leave closes the staged file and leaves it where it is.
func (s *Staged) Leave() error {
	s.name = ""
	return s.Discard()
}

// Discard removes a staged file that was not committed and closes it. It may
// be called twice, and after Commit or Leave.
func (s *Staged) Discard() error {
	var errs []error
	if s.file != nil {
		if s.name != "" {
			errs = append(errs, s.dir.Remove(s.name))
		}
		errs = append(errs, Explain(s.file.Close()))
		s.file, s.name = nil, ""
	}
	return errors.Join(errs...)
}

// RenameError: the target is still the old file.
type RenameError struct {
	Path string
	Err  error
}

func (e *RenameError) Error() string { return fmt.Sprintf("put %s in place: %v", e.Path, e.Err) }
func (e *RenameError) Unwrap() error { return e.Err }

// SyncError: the target is the new file, but a power loss might bring the old
// one back.
type SyncError struct {
	Path string
	Err  error
}

func (e *SyncError) Error() string { return fmt.Sprintf("make %s durable: %v", e.Path, e.Err) }
func (e *SyncError) Unwrap() error { return e.Err }
