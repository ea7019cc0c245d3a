package main

import (
	"bytes"
	"debug/buildinfo"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	cyclonedx "github.com/CycloneDX/cyclonedx-go"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
)

// unpackRelease unpacks each tar.gz and each image of a release, and returns the paths of the programs in them.
func unpackRelease(dir, version, into string) (programs []string, err error) {
	for _, arch := range []string{"amd64", "arm64"} {
		name := fmt.Sprintf("kvexpress-%s-linux-%s", version, arch)
		packed, err := os.Open(filepath.Join(dir, name+".tar.gz"))
		if err != nil {
			return nil, err
		}
		if err := unpack(packed, into, "-z"); err != nil {
			return nil, err
		}
		image := filepath.Join(into, "image-"+arch)
		if _, err := unpackImage(imagePath(dir, version), arch, image); err != nil {
			return nil, err
		}
		programs = append(programs, filepath.Join(into, name, "bin/kvexpress"), filepath.Join(image, "usr/bin/kvexpress"))
	}
	return programs, nil
}

// unpackImage unpacks the image of an architecture into a folder, which is the root of its file system, and returns how the
// image is run.
func unpackImage(path, arch, into string) (*v1.ConfigFile, error) {
	packed, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	blobs := into + ".oci"
	if err := unpack(packed, blobs); err != nil {
		return nil, err
	}
	index, err := layout.ImageIndexFromPath(blobs)
	if err != nil {
		return nil, err
	}
	for range 2 { // the index of the layout, then the index of the image
		manifest, err := index.IndexManifest()
		if err != nil {
			return nil, err
		}
		for _, m := range manifest.Manifests {
			switch {
			case m.MediaType.IsIndex():
				if index, err = index.ImageIndex(m.Digest); err != nil {
					return nil, err
				}
			case m.Platform != nil && m.Platform.Architecture == arch:
				image, err := index.Image(m.Digest)
				if err != nil {
					return nil, err
				}
				if err := unpack(mutate.Extract(image), into); err != nil {
					return nil, err
				}
				return image.ConfigFile()
			}
		}
	}
	return nil, fmt.Errorf("%s has no image for %s", path, arch)
}

// unpack unpacks a tar into a folder, and closes it.
func unpack(packed io.ReadCloser, into string, flags ...string) error {
	defer packed.Close()
	if err := os.MkdirAll(into, 0o750); err != nil {
		return err
	}
	cmd := exec.Command("tar", append([]string{"-x", "-C", into}, flags...)...) //nolint:noctx // it ends
	cmd.Stdin = packed
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("tar: %w: %s", err, out)
	}
	return nil
}

// verifyProgram verifies that a program says its version, if this machine can run it, and that SBOM and licences in a folder
// name all of its modules.
func verifyProgram(path, dir, version string) error {
	linked, err := modules(path)
	if err != nil {
		return err
	}
	b, err := os.ReadFile(sbomPath(dir, version))
	if err != nil {
		return err
	}
	var bom cyclonedx.BOM
	if err := cyclonedx.NewBOMDecoder(bytes.NewReader(b), cyclonedx.BOMFileFormatJSON).Decode(&bom); err != nil {
		return fmt.Errorf("%s: %w", sbomPath(dir, version), err)
	}
	if bom.Components == nil || bom.Metadata == nil || bom.Metadata.Component == nil || bom.Metadata.Component.Version != version {
		return fmt.Errorf("%s does not describe version %s", sbomPath(dir, version), version)
	}
	named := map[string]bool{}
	for _, c := range *bom.Components {
		named[c.Name+" "+c.Version] = true
	}
	licences, err := os.ReadFile(filepath.Join(dir, thirdParty))
	if err != nil {
		return err
	}
	for _, m := range linked {
		if !named[m.Path+" "+m.Version] || !strings.Contains(string(licences), "\n"+m.Path+" "+m.Version+": ") {
			return fmt.Errorf("SBOM or licences lack the module %s %s", m.Path, m.Version)
		}
	}
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return err
	}
	own := debug.BuildSetting{Key: "GOARCH", Value: runtime.GOARCH}
	if !slices.Contains(info.Settings, own) {
		return nil
	}
	v, err := program(path).about()
	if err == nil && v.Version != version {
		err = fmt.Errorf("it says that it is version %s, not %s", v.Version, version)
	}
	return err
}
