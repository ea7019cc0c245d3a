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
	"kvexpress/internal/kv"
)

// FileMark stands for a path in the arguments of a command: in a check for the staged file, in an exec for the target.
const FileMark = "{file}"

// NewFileMode is the mode of a new file for which none is given: 1.x's default.
const NewFileMode fs.FileMode = 0o640

// Target is, on one node, a key and how to install it.
type Target struct {
	Key  kv.Key
	File string // absolute and clean; see ParseFile
	// Raw, when not empty, is the full path of any value in the store, which is
	// installed as it is: without checksum or version, and never stopped.
	Raw string

	Mode     *fs.FileMode // nil: as the existing file has it, or NewFileMode
	UID, GID *int         // nil: as the existing file has it, or the current user's
	MinLines int          // fewer lines are refused

	Check        []string // argv, run on the staged file; FileMark stands for its path
	Exec         []string // argv, run after an install, and until it succeeded
	CheckTimeout time.Duration
	ExecTimeout  time.Duration

	IgnoreStop       bool // install even what is stopped
	RefuseOlder      bool // keep the file although the store went back
	DeferExec        bool // leave a pending exec to RunPending
	InPlace          bool // overwrite instead of rename: see atomicfile.WriteInPlace
	RestoreOnFailure bool // put the old bytes back when the exec fails
	DryRun           bool // look and decide, change nothing
	Diff             bool // the result has the bytes before and after

	// Postpone, if set, is asked before new bytes are installed, with their
	// SHA-256: if true, they are not now, and the outcome is Postponed.
	Postpone func(sha256 string) bool `json:"-"`
	// Waiting, if set, is called when another process has held the target for a second,
	// with what is known of that process.
	Waiting func(holder string) `json:"-"`
}

// name is the key, or the raw path, for messages.
func (t Target) name() string {
	if t.Raw != "" {
		return t.Raw
	}
	return string(t.Key)
}

// ParseFile makes the path of a target absolute and clean. A path that no file
// can have is refused.
func ParseFile(path string) (string, error) {
	switch {
	case path == "":
		return "", errors.New("the file has no name; give one with -f")
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

// FillFile returns a command in which FileMark is the path of the file.
func FillFile(argv []string, path string) []string {
	filled := slices.Clone(argv)
	for i, a := range filled {
		filled[i] = strings.ReplaceAll(a, FileMark, path)
	}
	return filled
}

// Resolve tells where the path of a target leads: that is what the file goes by.
func Resolve(file string) (string, error) { return atomicfile.Resolve(file) }

// ParseCheck makes sure that a check looks at the staged file.
func ParseCheck(argv []string) error {
	if !slices.ContainsFunc(argv, func(a string) bool { return strings.Contains(a, FileMark) }) {
		return fmt.Errorf("the check does not look at the new file; write %s where its path belongs", FileMark)
	}
	return nil
}

// Owner looks up the numeric user of a name or a number, and that user's main group, or, as for chown, the group behind a
// colon. An unknown name is an error, and never another user. A gid of -1 leaves the group as it is.
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
		return 0, 0, fmt.Errorf("the owner %s is not known on this machine; create the user, or give a numeric id", kv.Quote(name))
	}
	uid, errU := strconv.Atoi(u.Uid)
	gid, errG := strconv.Atoi(u.Gid)
	return uid, gid, errors.Join(errU, errG)
}

// parseID reads a numeric id. The highest number stands for no id: chown would change nothing.
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

// Group looks up the numeric group of a name or a number.
func Group(name string) (int, error) {
	if id, numeric, err := parseID("group", name); numeric {
		return id, err
	}
	g, err := user.LookupGroup(name)
	if err != nil {
		return 0, fmt.Errorf("the group %s is not known on this machine; create the group, or give a numeric id", kv.Quote(name))
	}
	return strconv.Atoi(g.Gid)
}
