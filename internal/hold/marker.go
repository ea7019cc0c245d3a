package hold

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"kvexpress/internal/atomicfile"
	"kvexpress/internal/safetext"
)

// Marker is the file that 1.x leaves beside a locked one, for people. No program reads it.
func Marker(file string) string { return file + ".locked" }

// markerWait is how long a process waits for another one that writes the marker.
const markerWait = 5 * time.Second

// WriteMarker leaves the marker of a locked file. Each line is a comment, as a service may read all files of the folder.
func WriteMarker(file, reason string, until time.Time, a atomicfile.Attrs) (err error) {
	text := fmt.Sprintf("kvexpress leaves %s as it is on this node.\n\nReason: %s\n", file, reason)
	if !until.IsZero() {
		text += fmt.Sprintf("Until: %s\n", until.UTC().Format(time.RFC3339))
	}
	text += fmt.Sprintf("Unlock it: kvexpress unlock -f %s\n", file)

	t, err := marker(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.Close(), t.Dir.Close()) }()
	ctx, cancel := context.WithTimeout(context.Background(), markerWait)
	defer cancel()
	if err := t.Lock(ctx, atomicfile.Waiting{}); err != nil {
		return err
	}
	return t.Write([]byte(comment(text)), a)
}

// comment puts a # before each line, and drops characters that do not print.
func comment(text string) string {
	var b strings.Builder
	for line := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == '\n' || r == '\r' }) {
		b.WriteString("# " + safetext.Line(line, 0) + "\n")
	}
	return b.String()
}

// marker opens the marker, without following a link.
func marker(file string) (*atomicfile.Target, error) {
	d, err := atomicfile.OpenDir(filepath.Dir(file))
	if err != nil {
		return nil, err
	}
	return &atomicfile.Target{Dir: d, Base: filepath.Base(Marker(file))}, nil
}

// RemoveMarker removes the marker of a file, if it exists.
func RemoveMarker(file string) error {
	t, err := marker(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(t.Dir.Remove(t.Base), t.Dir.Close())
}
