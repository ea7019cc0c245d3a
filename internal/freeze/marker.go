package freeze

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"kvexpress/internal/atomicfile"
)

// Marker is the file that 1.x leaves beside a locked one, for whoever looks into
// the folder. Nothing reads it.
func Marker(file string) string { return file + ".locked" }

// WriteMarker leaves the marker of a locked file.
func WriteMarker(file, reason string, until time.Time, a atomicfile.Attrs) (err error) {
	var text strings.Builder
	fmt.Fprintf(&text, "kvexpress leaves %s as it is on this node.\n\n", file)
	fmt.Fprintf(&text, "Reason: %s\n", reason)
	if !until.IsZero() {
		fmt.Fprintf(&text, "Until: %s\n", until.UTC().Format(time.RFC3339))
	}
	fmt.Fprintf(&text, "Lift it: kvexpress unlock -f %s\n", file)

	dir, err := atomicfile.OpenDir(filepath.Dir(file), nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	base := filepath.Base(Marker(file))
	staged, err := dir.Stage(atomicfile.TempName(base), []byte(text.String()), a)
	if err != nil {
		return err
	}
	return errors.Join(staged.Commit(base), staged.Discard())
}

// RemoveMarker removes the marker of a file; one that is not there is no error.
func RemoveMarker(file string) (err error) {
	dir, err := atomicfile.OpenDir(filepath.Dir(file), nil)
	if err != nil {
		return err
	}
	return errors.Join(dir.Remove(filepath.Base(Marker(file))), dir.Close())
}
