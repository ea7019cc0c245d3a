package command

import (
	"errors"
	"fmt"
	"os"
)

// inputFile is a file without a name that has these bytes: a program that reads none of them, or late, does not keep a goroutine
// busy as a pipe would.
func inputFile(b []byte) (*os.File, error) {
	f, err := os.CreateTemp("", "kvexpress-input-")
	if err != nil {
		return nil, fmt.Errorf("keep the input of a command: %w; set TMPDIR to a folder that can be written", err)
	}
	err = os.Remove(f.Name())
	if err == nil {
		_, err = f.Write(b)
	}
	if err == nil {
		_, err = f.Seek(0, 0)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
