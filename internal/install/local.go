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

// onDisk is the target as it is before anything is done to it.
type onDisk struct {
	exists   bool
	content  []byte // nil if nobody asked for it, or it is larger than anything we deliver
	sha      string // "" if it is larger than that
	size     int
	lines    int
	mode     fs.FileMode
	uid, gid int
	like     *os.File
	identity atomicfile.Identity
	unread   bool // the content was not read: the sha is what we remember of it
}

// remembered is a file that this process installed or read.
type remembered struct {
	identity atomicfile.Identity
	sha      string
}

// remember notes what is in place.
func (tx *transaction) remember(sha string) {
	if tx.data == nil || tx.file == nil || tx.file.File == nil { // no caller asks for it
		return
	}
	if info, err := tx.file.File.Stat(); err == nil {
		tx.known.Store(tx.path, remembered{atomicfile.IdentityOf(info), sha})
	}
}

// glance is look for a file that is about to be replaced, most likely: if nobody
// has touched it since, what it holds is known. Whoever then finds that it is to
// be kept has to look after all.
func (tx *transaction) glance() (onDisk, error) {
	if tx.file == nil { // its folder is missing
		return onDisk{uid: -1, gid: -1}, nil
	}
	was, ok := tx.known.Load(tx.path)
	if !ok || tx.data == nil || tx.file.File == nil || tx.target.RestoreOnFailure || tx.target.InPlace {
		return look(tx.file, false)
	}
	info, err := tx.file.File.Stat()
	if err != nil {
		return onDisk{}, fmt.Errorf("look at %s: %w", tx.path, err)
	}
	known, _ := was.(remembered) // nothing else is stored
	if atomicfile.IdentityOf(info) != known.identity {
		return look(tx.file, false)
	}
	d := describeFile(tx.file, info)
	d.sha, d.unread = known.sha, true
	return d, nil
}

func describeFile(t *atomicfile.Target, info fs.FileInfo) onDisk {
	uid, gid := atomicfile.Owner(info)
	return onDisk{exists: true, mode: info.Mode() & atomicfile.ModeBits, uid: uid, gid: gid, like: t.File, identity: atomicfile.IdentityOf(info)}
}

// look reads a target, and may keep its content.
func look(t *atomicfile.Target, keep bool) (onDisk, error) {
	if t.File == nil {
		return onDisk{uid: -1, gid: -1}, nil
	}
	info, err := t.File.Stat()
	if err != nil {
		return onDisk{}, fmt.Errorf("look at %s: %w", t.File.Name(), err)
	}
	d := describeFile(t, info)
	if info.Size() > record.MaxPlain {
		return d, nil // whatever it is, it is not what we would put there
	}
	sum, breaks := sha256.New(), new(newlines)
	var content bytes.Buffer
	to := io.MultiWriter(sum, breaks)
	if keep {
		content.Grow(int(info.Size()) + bytes.MinRead)
		to = io.MultiWriter(sum, breaks, &content)
	}
	// From the beginning, however often it is looked at.
	size, err := io.Copy(to, io.NewSectionReader(t.File, 0, record.MaxPlain+1))
	if err != nil {
		return onDisk{}, fmt.Errorf("read %s: %w", t.File.Name(), err)
	}
	if size > record.MaxPlain {
		return d, nil
	}
	d.size, d.lines, d.sha = int(size), max(1, int(*breaks)), hex.EncodeToString(sum.Sum(nil))
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

// wanted is what owner and mode are to be: what is asked for, else what is there,
// else the defaults of a new file.
func (d onDisk) wanted(t Target) atomicfile.Attrs {
	a := atomicfile.Attrs{Mode: NewFileMode, UID: d.uid, GID: d.gid, Like: d.like}
	if d.exists {
		a.Mode = d.mode
	}
	return t.Attrs(a)
}

// Attrs is a with what is asked for.
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

// attrs is what owner and mode are.
func (d onDisk) attrs() atomicfile.Attrs {
	return atomicfile.Attrs{Mode: d.mode, UID: d.uid, GID: d.gid, Like: d.like}
}

// drifted reports whether owner or mode are not what they are to be.
func (d onDisk) drifted(a atomicfile.Attrs) bool {
	return d.mode != a.Mode || (a.UID >= 0 && d.uid != a.UID) || (a.GID >= 0 && d.gid != a.GID)
}
