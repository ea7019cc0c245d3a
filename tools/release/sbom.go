package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	cyclonedx "github.com/CycloneDX/cyclonedx-go"
)

// writeSBOM writes which modules a version of kvexpress contains, in CycloneDX's JSON.
func writeSBOM(w io.Writer, all []module, version string, date time.Time) error {
	component := func(kind cyclonedx.ComponentType, from, path, version string, licences ...string) cyclonedx.Component {
		purl := fmt.Sprintf("pkg:%s/%s@%s", from, path, strings.ReplaceAll(version, "+", "%2B"))
		var choices cyclonedx.Licenses
		for _, id := range licences {
			choices = append(choices, cyclonedx.LicenseChoice{License: &cyclonedx.License{ID: id}})
		}
		return cyclonedx.Component{BOMRef: purl, Type: kind, Name: path, Version: version, PackageURL: purl, Licenses: &choices}
	}
	program := component(cyclonedx.ComponentTypeApplication, "golang", "kvexpress", version, "Apache-2.0")
	parts := make([]cyclonedx.Component, 0, len(all))
	refs := make([]string, 0, len(all))
	for _, m := range all {
		from := "golang"
		if m.npm {
			from = "npm"
		}
		c := component(cyclonedx.ComponentTypeLibrary, from, m.Path, m.Version, m.licences...)
		if m.Sum != "" { // the line of go.sum, which proves that the bytes are the same
			c.Properties = &[]cyclonedx.Property{{Name: "go.sum", Value: m.Sum}}
		}
		parts, refs = append(parts, c), append(refs, c.BOMRef)
	}
	bom := cyclonedx.NewBOM()
	bom.Metadata = &cyclonedx.Metadata{Timestamp: date.UTC().Format(time.RFC3339), Component: &program}
	bom.Components = &parts
	bom.Dependencies = &[]cyclonedx.Dependency{{Ref: program.BOMRef, Dependencies: &refs}}
	return cyclonedx.NewBOMEncoder(w, cyclonedx.BOMFileFormatJSON).SetPretty(true).EncodeVersion(bom, cyclonedx.SpecVersion1_6)
}
