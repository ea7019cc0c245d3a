package install

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"kvexpress/internal/atomicfile"
	"kvexpress/internal/command"
	"kvexpress/internal/kv"
)

// FileMark in an argument is replaced by a path: of the staged file in a check, of the target in an exec.
const FileMark = "{file}"

// NewFileMode is the default mode of a new file, as in 1.x.
const NewFileMode fs.FileMode = 0o640

// Target is a key and a file of this node that the key is installed to.
type Target struct {
	Key  kv.Key
	File string // absolute and clean; see ParseFile
	Raw  string // instead of Key: the full path of any value in the store. It has no checksum, version or stop

	Mode     *fs.FileMode // nil: the mode of the existing file, or NewFileMode
	UID, GID *int         // nil: those of the existing file, or of this process
	MinLines int          // a version with fewer lines is refused

	Check        []string // argv, run on the staged file
	Exec         []string // argv, run after an install, and again until it succeeds
	Probe        []string // argv, which an agent runs to find out whether a candidate works
	CheckTimeout time.Duration
	ExecTimeout  time.Duration
	ProbeTimeout time.Duration // from the end of the exec until the probe succeeds

	IgnoreStop       bool // install although the key is stopped
	RefuseOlder      bool // keep the file if the store went back
	DeferExec        bool // leave a pending exec to RunPending
	InPlace          bool // overwrite instead of rename: see atomicfile.WriteInPlace
	RestoreOnFailure bool // put the old bytes back if the exec fails
	DryRun           bool // read and decide, change nothing
	Diff             bool // the result has the old and new bytes

	// Postpone, if set, is called before a new version is installed, but no candidate, with its SHA-256. If true, it is not
	// installed, and the action is Postponed.
	Postpone func(sha256 string) bool `json:"-"`
	// Candidate, if set, is asked whether the candidate of a rollout may still be worked on. If false, nothing is done, and the
	// action is Kept: the first failure of a candidate is final.
	Candidate func(rollout string) bool `json:"-"`
	// Withdrawn, if set, returns a channel that is closed when the candidate of a rollout is not offered any more. That ends a
	// check of it.
	Withdrawn func(rollout string) <-chan struct{} `json:"-"`
	// Waiting, if set, is called if another process has held the lock for a second, with the name of that process.
	Waiting func(holder string) `json:"-"`
}

// Attrs is a with the target's settings.
func (t Target) Attrs(a atomicfile.Attrs) atomicfile.Attrs {
	if t.Mode != nil {
		a.Mode = *t.Mode
	}
	if t.UID != nil {
		a.UID = *t.UID
	}
	if t.GID != nil {
		a.GID = *t.GID
	}
	return a
}

// name is the key, or the raw path.
func (t Target) name() string {
	if t.Raw != "" {
		return t.Raw
	}
	return string(t.Key)
}

// ParseFile makes the path of a target absolute and clean. It refuses a path that no file can have.
func ParseFile(path string) (string, error) {
	switch {
	case path == "":
		return "", errors.New("no file is given; name it with -f FILE")
	case strings.ContainsRune(path, 0):
		return "", fmt.Errorf("the file name %s contains a NUL byte", kv.Quote(path))
	case strings.HasSuffix(path, "/"):
		return "", fmt.Errorf("%s names a folder; give a file with -f", kv.Quote(path))
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("make %s absolute: %w", kv.Quote(path), err)
	}
	return abs, nil
}

// FillFile returns argv with the path instead of FileMark.
func FillFile(argv []string, path string) []string {
	filled := slices.Clone(argv)
	for i, a := range filled {
		filled[i] = strings.ReplaceAll(a, FileMark, path)
	}
	return filled
}

// Resolve returns the path of a target without symbolic links. It identifies the file.
func Resolve(file string) (string, error) { return atomicfile.Resolve(file) }

// ParseCheck makes sure that a check reads the staged file.
func ParseCheck(argv []string) error {
	if !slices.ContainsFunc(argv, func(a string) bool { return strings.Contains(a, FileMark) }) {
		return fmt.Errorf("the check does not read the new file; write %s where its path belongs", FileMark)
	}
	return nil
}

// Programs returns an error for each of check, exec and probe whose program this process cannot start. One that is the file
// itself is not looked up: it may not be installed yet.
func (t Target) Programs() (missing []error) {
	for _, c := range []struct {
		name string
		argv []string
	}{{"check", t.Check}, {"exec", t.Exec}, {"probe", t.Probe}} {
		if len(c.argv) == 0 || c.argv[0] == t.File || strings.Contains(c.argv[0], FileMark) {
			continue
		}
		if err := command.Lookup(c.argv[0]); err != nil {
			missing = append(missing, fmt.Errorf("%s: %w", c.name, err))
		}
	}
	return missing
}

// Owner returns the user id of a name or a number, and the id of that user's main group, or, as for chown, of the group after a
// colon. An unknown name is an error. A gid of -1 leaves the group as it is.
func Owner(spec string) (uid, gid int, err error) {
	name, group, _ := strings.Cut(spec, ":")
	if uid, gid, err = owner(name); err == nil && group != "" {
		gid, err = Group(group)
	}
	return uid, gid, err
}

func owner(name string) (uid, gid int, err error) {
	uid, numeric, err := parseID("owner", name)
	if err != nil {
		return 0, 0, err
	}
	u, unknown := user.LookupId(name)
	if !numeric {
		u, unknown = user.Lookup(name)
	}
	switch {
	case unknown != nil && numeric:
		return uid, -1, nil // a number needs no entry
	case unknown != nil:
		return 0, 0, fmt.Errorf("the owner %s does not exist on this machine; create the user, or give a numeric id", kv.Quote(name))
	}
	uid, errU := strconv.Atoi(u.Uid)
	gid, errG := strconv.Atoi(u.Gid)
	return uid, gid, errors.Join(errU, errG)
}

// parseID parses a numeric id. It refuses the highest number: chown takes it for "no change".
func parseID(what, s string) (id int, numeric bool, err error) {
	if s == "" || strings.Trim(s, "+-0123456789") != "" {
		return 0, false, nil
	}
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n == math.MaxUint32 {
		return 0, true, fmt.Errorf("the %s %s is not an id; give a name, or a number from 0 to %d", what, kv.Quote(s), math.MaxUint32-1)
	}
	return int(n), true, nil
}

// Group returns the group id of a name or a number.
func Group(name string) (int, error) {
	if id, numeric, err := parseID("group", name); numeric {
		return id, err
	}
	g, err := user.LookupGroup(name)
	if err != nil {
		return 0, fmt.Errorf("the group %s does not exist on this machine; create the group, or give a numeric id", kv.Quote(name))
	}
	return strconv.Atoi(g.Gid)
}
