package install

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"

	"kvexpress/internal/atomicfile"
	"kvexpress/internal/record"
)

// onDisk is the target before anything is done to it.
type onDisk struct {
	exists     bool
	content    []byte // nil if it is not needed, or larger than any version
	sha        string // "" if it is larger than any version
	size       int
	lines      int
	mode       fs.FileMode
	uid, gid   int
	like       *os.File
	identity   atomicfile.Identity
	remembered bool // the content was not read: sha is from an earlier install
}

// remembered is a file that this process installed or read.
type remembered struct {
	identity atomicfile.Identity
	sha      string
}

// remember notes the SHA-256 of the target. Only callers of InstallData use it.
func (tx *transaction) remember(sha string) {
	if tx.data == nil || tx.file == nil || tx.file.File == nil {
		return
	}
	if info, err := tx.file.File.Stat(); err == nil {
		tx.installed.Store(tx.path, remembered{atomicfile.IdentityOf(info), sha})
	}
}

// readRemembered is readFile without reading the content, if the caller brought data, so the file will most likely be
// replaced, and nothing changed it since an earlier install. If the file turns out to be up to date, it must be read.
func (tx *transaction) readRemembered() (onDisk, error) {
	if tx.file == nil { // its folder is missing
		return onDisk{uid: -1, gid: -1}, nil
	}
	was, ok := tx.installed.Load(tx.path)
	if !ok || tx.data == nil || tx.file.File == nil || tx.target.RestoreOnFailure || tx.target.InPlace {
		return readFile(tx.file, false)
	}
	d, err := statFile(tx.file)
	if err != nil {
		return d, err
	}
	if known, ok := was.(remembered); ok && d.identity == known.identity {
		d.sha, d.remembered = known.sha, true
		return d, nil
	}
	return readFile(tx.file, false)
}

func statFile(t *atomicfile.Target) (onDisk, error) {
	if t.File == nil {
		return onDisk{uid: -1, gid: -1}, nil
	}
	info, err := t.File.Stat()
	if err != nil {
		return onDisk{}, fmt.Errorf("stat %s: %w", t.Path(), atomicfile.Explain(err))
	}
	uid, gid := atomicfile.Owner(info)
	return onDisk{exists: true, mode: info.Mode() & atomicfile.ModeBits, uid: uid, gid: gid, size: int(info.Size()), like: t.File,
		identity: atomicfile.IdentityOf(info)}, nil
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
	n, err := io.Copy(to, io.NewSectionReader(t.File, 0, record.MaxPlain+1))
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

// wanted are the target's settings, else the owner and mode on disk, else the defaults of a new file.
func (d onDisk) wanted(t Target) atomicfile.Attrs {
	a := atomicfile.Attrs{Mode: NewFileMode, UID: d.uid, GID: d.gid, Like: d.like}
	if d.exists {
		a.Mode = d.mode
	}
	return t.Attrs(a)
}

// attrs are the owner and mode on disk.
func (d onDisk) attrs() atomicfile.Attrs {
	return atomicfile.Attrs{Mode: d.mode, UID: d.uid, GID: d.gid, Like: d.like}
}

// drifted reports whether owner or mode differ from those wanted.
func (d onDisk) drifted(a atomicfile.Attrs) bool {
	return d.mode != a.Mode || (a.UID >= 0 && d.uid != a.UID) || (a.GID >= 0 && d.gid != a.GID)
}
