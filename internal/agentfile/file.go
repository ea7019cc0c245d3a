package agentfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// readFile reads a regular file of at most maxFile bytes. Links are followed. The
// error does not name the file.
func readFile(path string) (b []byte, err error) {
	// Opening a FIFO without O_NONBLOCK would wait for a writer, for ever.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, bare(err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return nil, bare(err)
	}
	if !info.Mode().IsRegular() {
		return nil, errNotRegular
	}
	b, err = io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(b) > maxFile {
		err = errTooLong
	}
	return b, bare(err)
}

// bare is an error of the file system without the path, which is said already.
func bare(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

// Why a file is not read.
var (
	errNotRegular = errors.New("it is not a regular file; give a file, or a link to one")
	errTooLong    = fmt.Errorf("it has more than %d bytes; spread the targets over files in %s", maxFile, fragments)
)
