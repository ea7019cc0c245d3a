package install

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"

	"kvexpress/internal/atomicfile"
	"kvexpress/internal/record"
)

// onDisk is the target before anything is done to it.
type onDisk struct {
	atomicfile.Attrs // those of a new file, if it does not exist

	exists  bool
	content []byte // nil if it is not needed, or larger than any version
	sha     string // "" if it is larger than any version
	size    int
	lines   int
}

func statFile(t *atomicfile.Target) (onDisk, error) {
	if t.File == nil {
		return onDisk{Attrs: atomicfile.Attrs{Mode: NewFileMode, UID: -1, GID: -1}}, nil
	}
	info, err := t.File.Stat()
	if err != nil {
		return onDisk{}, fmt.Errorf("stat %s: %w", t.Path(), atomicfile.Explain(err))
	}
	uid, gid := atomicfile.Owner(info)
	return onDisk{Attrs: atomicfile.Attrs{Mode: info.Mode() & atomicfile.ModeBits, UID: uid, GID: gid, Like: t.File}, exists: true,
		size: int(info.Size())}, nil
}

// readFile reads a target, and may keep its content.
func readFile(t *atomicfile.Target, keep bool) (onDisk, error) {
	d, err := statFile(t)
	size := d.size
	d.size = 0 // of a file larger than any version
	if err != nil || !d.exists || size > record.MaxPlain {
		return d, err
	}
	sum, breaks := sha256.New(), new(newlines)
	var content bytes.Buffer
	to := io.MultiWriter(sum, breaks)
	if keep {
		content.Grow(size + bytes.MinRead)
		to = io.MultiWriter(sum, breaks, &content)
	}
	n, err := io.CopyBuffer(to, io.NewSectionReader(t.File, 0, record.MaxPlain+1), make([]byte, 8<<10)) // not 32 KiB
	if err != nil {
		return onDisk{}, fmt.Errorf("read %s: %w", t.Path(), atomicfile.Explain(err))
	}
	if n > record.MaxPlain { // it grew
		return d, nil
	}
	d.size, d.lines, d.sha = int(n), max(1, int(*breaks)), hex.EncodeToString(sum.Sum(nil))
	if keep {
		d.content = content.Bytes()
	}
	return d, nil
}

// newlines counts the newlines of all writes.
type newlines int

func (n *newlines) Write(b []byte) (int, error) {
	*n += newlines(bytes.Count(b, []byte("\n")))
	return len(b), nil
}

// drifted reports whether owner or mode differ from those wanted.
func (d onDisk) drifted(a atomicfile.Attrs) bool {
	return d.Mode != a.Mode || (a.UID >= 0 && d.UID != a.UID) || (a.GID >= 0 && d.GID != a.GID)
}
