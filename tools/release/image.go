package main

import (
	"archive/tar"
	"bytes"
	"encoding/pem"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// nonroot is the user and the group of the image.
const nonroot = 65532

// imageOf says what the image of a release is made from.
type imageOf struct {
	version, revision string
	date              time.Time
	program           func(arch string) string // its path
	documents         []string                 // paths of licences
}

// writeImage writes an image for both architectures as the tar of an OCI layout. The same input gives the same bytes.
func writeImage(w io.Writer, from imageOf) (err error) {
	labels := map[string]string{
		"org.opencontainers.image.title":       "kvexpress",
		"org.opencontainers.image.description": "Put a file on every machine of a fleet through Consul, verified",
		"org.opencontainers.image.licenses":    "Apache-2.0",
		"org.opencontainers.image.version":     from.version,
		"org.opencontainers.image.revision":    from.revision,
		"org.opencontainers.image.created":     from.date.Format(time.RFC3339),
	}
	both := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, arch := range []string{"amd64", "arm64"} {
		files, err := from.layer(arch)
		if err != nil {
			return err
		}
		open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(files)), nil }
		layer, err := tarball.LayerFromOpener(open, tarball.WithMediaType(types.OCILayer))
		if err != nil {
			return err
		}
		image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
		if image, err = mutate.Append(image, mutate.Addendum{Layer: layer,
			History: v1.History{Created: v1.Time{Time: from.date}, CreatedBy: "kvexpress " + from.version}}); err != nil {
			return err
		}
		config, err := image.ConfigFile()
		if err != nil {
			return err
		}
		config = config.DeepCopy()
		config.OS, config.Architecture, config.Created = "linux", arch, v1.Time{Time: from.date}
		config.Config = v1.Config{User: "65532:65532", Entrypoint: []string{"/usr/bin/kvexpress"}, WorkingDir: "/", Labels: labels,
			Env: []string{"PATH=/usr/bin", "HOME=/var/lib/kvexpress"}}
		if image, err = mutate.ConfigFile(image, config); err != nil {
			return err
		}
		both = mutate.AppendManifests(both, mutate.IndexAddendum{Add: image,
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}})
	}
	named := mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex), mutate.IndexAddendum{Add: both,
		Descriptor: v1.Descriptor{Annotations: map[string]string{"org.opencontainers.image.ref.name": from.version}}})
	dir, err := os.MkdirTemp("", "kvexpress-image-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if _, err := layout.Write(dir, named); err != nil {
		return err
	}
	return writeTree(w, dir, from.date)
}

// layer is a tar of the files of the image: no shell and no package manager, only the program and what it reads.
func (from imageOf) layer(arch string) ([]byte, error) {
	var b bytes.Buffer
	var failed error
	t := tar.NewWriter(&b)
	add := func(name string, mode int64, owner int, content []byte) {
		h := &tar.Header{Name: name, Mode: mode, Size: int64(len(content)), Uid: owner, Gid: owner, ModTime: from.date,
			Format: tar.FormatUSTAR}
		if content == nil {
			h.Typeflag = tar.TypeDir
		}
		err := t.WriteHeader(h)
		if err == nil {
			_, err = t.Write(content)
		}
		failed = errors.Join(failed, err)
	}
	for _, dir := range []string{"etc/", "etc/kvexpress/", "etc/ssl/", "etc/ssl/certs/", "usr/", "usr/bin/", "usr/share/",
		"usr/share/doc/", "usr/share/doc/kvexpress/", "var/", "var/lib/", "run/"} {
		add(dir, 0o755, 0, nil)
	}
	add("var/lib/kvexpress/", 0o700, nonroot, nil)
	add("run/kvexpress/", 0o755, nonroot, nil)
	add("tmp/", 0o1777, 0, nil)
	add("etc/passwd", 0o644, 0, []byte("root:x:0:0::/root:/none\nnonroot:x:65532:65532::/var/lib/kvexpress:/none\n"))
	add("etc/group", 0o644, 0, []byte("root:x:0:\nnonroot:x:65532:\n"))
	add("etc/ssl/certs/ca-certificates.crt", 0o644, 0, roots())
	for _, path := range from.documents {
		content, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		add("usr/share/doc/kvexpress/"+filepath.Base(path), 0o644, 0, content)
	}
	program, err := os.ReadFile(from.program(arch))
	if err != nil {
		return nil, err
	}
	add("usr/bin/kvexpress", 0o755, 0, program)
	return b.Bytes(), errors.Join(failed, t.Close())
}

// roots are the certificates of public authorities that Mozilla trusts, as golang.org/x/crypto has them. A file cannot say
// under which conditions one is trusted, so those with conditions are left out.
func roots() []byte {
	var b []byte
	for root := range bundle.Roots() {
		if root.Constraint == nil {
			b = append(b, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate})...)
		}
	}
	return b
}

// writeTree writes the files in a folder as a tar, sorted by name.
func writeTree(w io.Writer, dir string, date time.Time) error {
	t := tar.NewWriter(w)
	files := os.DirFS(dir)
	err := fs.WalkDir(files, ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		h := &tar.Header{Name: name, Mode: 0o644, Size: int64(len(b)), ModTime: date, Format: tar.FormatUSTAR}
		if err := t.WriteHeader(h); err != nil {
			return err
		}
		_, err = t.Write(b)
		return err
	})
	return errors.Join(err, t.Close())
}
