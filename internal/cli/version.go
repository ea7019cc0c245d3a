package cli

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"kvexpress/internal/embedded/disk"
	"kvexpress/internal/fleet"
	"kvexpress/internal/install"
	"kvexpress/internal/kv"
	"kvexpress/internal/wire"
)

// Set by the linker in a release build.
var buildVersion, buildCommit, buildDate string //nolint:gochecknoglobals // the linker has no other way

type buildInfo struct{ version, commit, date string }

// build has the values of the linker, else those that the Go tool recorded, which take a while to read.
func build() buildInfo {
	b := buildInfo{version: buildVersion, commit: buildCommit, date: buildDate}
	if b.commit == "" {
		info, _ := debug.ReadBuildInfo()
		for i := 0; info != nil && i < len(info.Settings); i++ {
			switch setting := info.Settings[i]; setting.Key {
			case "vcs.revision":
				b.commit = setting.Value
			case "vcs.time":
				b.date = cmp.Or(b.date, setting.Value)
			}
		}
	}
	return buildInfo{cmp.Or(b.version, "dev"), cmp.Or(b.commit, "unknown"), cmp.Or(b.date, "unknown")}
}

// versionReport is what `version` says of this program.
type versionReport struct {
	Version  string  `json:"version"`
	Revision string  `json:"revision"`
	Date     string  `json:"date"`
	Go       string  `json:"go"`
	Platform string  `json:"platform"`
	Formats  formats `json:"formats"`
}

// formats are the newest formats that this program reads and writes.
type formats struct {
	Manifest int    `json:"manifest"`
	Receipt  int    `json:"receipt"`
	State    int    `json:"state"` // of the state folder
	Data     int    `json:"data"`  // of a hub's --data-dir
	Hub      string `json:"hub"`   // the protocol of agents and hubs
}

func versionOf(b buildInfo) versionReport {
	return versionReport{b.version, b.commit, b.date, runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH,
		formats{kv.ManifestFormat, fleet.Format, install.StateFormat, disk.Format, wire.Protocol}}
}

// lines begin in 1.x's form.
func (v versionReport) lines() []string {
	f := v.Formats
	return []string{"Version  : " + v.Version, "Revision : " + v.Revision, "Date     : " + v.Date, "Go       : " + v.Go,
		"Platform : " + v.Platform, fmt.Sprintf("Formats  : manifest %d, receipt %d, state %d, data-dir %d, hub protocol %s",
			f.Manifest, f.Receipt, f.State, f.Data, f.Hub)}
}

// printVersion runs before every command. With -v or --version, as in 1.x, it ends the program. cobra's own flag needs
// text/template, which makes the program a quarter larger and slower to start.
func (a *App) printVersion(g *globals) error {
	if !g.version {
		return nil
	}
	_, err := fmt.Fprintln(a.Stdout, strings.Join(versionOf(build()).lines(), "\n"))
	return &reportedError{error: err, code: exitOK}
}

func (a *App) newVersion(g *globals) *cobra.Command {
	return a.with(g, "version", uses("json"),
		func(context.Context, *session) (report, error) { return versionOf(build()), nil })
}
