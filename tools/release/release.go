package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// release makes all files of a release in .build/release/VERSION from what make built, signs them with an SSH key, and
// verifies them.
func release(root, key string) (err error) {
	p := built(root)
	v, err := p.about()
	if err != nil {
		return err
	}
	if err := packages(root); err != nil {
		return err
	}
	out := filepath.Join(root, ".build/release", v.Version)
	if err := os.RemoveAll(out); err != nil {
		return err
	}
	if err := os.CopyFS(out, os.DirFS(filepath.Join(root, ".build/packages"))); err != nil {
		return err
	}
	linked, err := modules(string(p))
	if err != nil {
		return err
	}
	licences := filepath.Join(out, thirdParty)
	image := imageOf{version: v.Version, revision: v.Revision, date: v.Date,
		documents: []string{filepath.Join(root, "LICENSE"), licences},
		program:   func(arch string) string { return crossBuilt(root, arch) }}
	for _, file := range []struct {
		path  string
		write func(io.Writer) error
	}{
		{licences, func(w io.Writer) error { return writeLicences(w, linked) }},
		{sbomPath(out, v.Version), func(w io.Writer) error { return writeSBOM(w, linked, v.Version, v.Date) }},
		{imagePath(out, v.Version), func(w io.Writer) error { return writeImage(w, image) }},
	} {
		if err := create(file.path, file.write); err != nil {
			return err
		}
	}
	if err := sign(out, key); err != nil {
		return err
	}
	if err := verify(out, v.Version, key); err != nil {
		return fmt.Errorf("%s is not fit for a release: %w", out, err)
	}
	fmt.Println("verified", out)
	return nil
}

func sbomPath(dir, version string) string {
	return filepath.Join(dir, "kvexpress-"+version+".cdx.json")
}

func imagePath(dir, version string) string {
	return filepath.Join(dir, "kvexpress-"+version+"-oci.tar")
}

// verify verifies the files of a release as a user gets them: signature and checksums, the programs in tar.gz and image, and
// that SBOM and licences name each module of each program.
func verify(dir, version, key string) (err error) {
	if err := verifySums(dir, key); err != nil {
		return err
	}
	for _, pattern := range []string{"*.deb", "*.rpm", "*.apk", "*.tar.gz"} {
		if found, err := filepath.Glob(filepath.Join(dir, pattern)); err != nil || len(found) != 2 {
			return fmt.Errorf("%s: %q are not two files, for amd64 and arm64 (%w)", pattern, found, err)
		}
	}
	temp, err := os.MkdirTemp("", "kvexpress-verify-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temp)) }()
	programs, err := unpackRelease(dir, version, temp)
	if err != nil {
		return err
	}
	for _, path := range programs {
		if err := verifyProgram(path, dir, version); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return nil
}
