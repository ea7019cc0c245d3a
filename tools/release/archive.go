package main

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// writeArchive writes the tar.gz into a folder, and returns its path. The same input gives the same bytes.
func writeArchive(dir, arch, version string, date time.Time, f files) (path string, err error) {
	entries, err := f.installed("tar.gz")
	if err != nil {
		return "", err
	}
	name := fmt.Sprintf("kvexpress-%s-linux-%s", version, arch)
	path = filepath.Join(dir, name+".tar.gz")
	return path, create(path, func(w io.Writer) error {
		z := gzip.NewWriter(w)
		t := tar.NewWriter(z)
		for _, e := range entries {
			b, err := os.ReadFile(e.source)
			if err != nil {
				return err
			}
			h := &tar.Header{Name: name + "/" + e.archived(), Mode: int64(e.mode), Size: int64(len(b)), ModTime: date,
				Uname: "root", Gname: "root", Format: tar.FormatUSTAR}
			if err := t.WriteHeader(h); err != nil {
				return err
			}
			if _, err := t.Write(b); err != nil {
				return err
			}
		}
		return errors.Join(t.Close(), z.Close())
	})
}
