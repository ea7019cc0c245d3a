package cli

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
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

// text has 1.x's form.
func (b buildInfo) text() string {
	return fmt.Sprintf("%-8s : %s\n%-8s : %s\n%-8s : %s\n%-8s : %s\n",
		"Version", b.version, "Revision", b.commit, "Date", b.date, "Go", runtime.Version())
}

// printVersion runs before every command. With -v or --version, as in 1.x, it ends the program. cobra's own flag needs
// text/template, which makes the program a quarter larger and slower to start.
func (a *App) printVersion(g *globals) error {
	if !g.version {
		return nil
	}
	_, err := fmt.Fprint(a.Stdout, build().text())
	return &reportedError{error: err, code: exitOK}
}

func (a *App) newVersion(g *globals) *cobra.Command {
	return a.with(g, "version", uses("json"),
		func(context.Context, *session) (report, error) { return versionReport{build()}, nil })
}

type versionReport struct{ buildInfo }

func (v versionReport) lines() []string {
	text := v.text()
	return []string{text[:len(text)-1]}
}

func (v versionReport) MarshalJSON() ([]byte, error) {
	return fmt.Appendf(nil, `{"version":%q,"revision":%q,"date":%q,"go":%q}`, v.version, v.commit, v.date, runtime.Version()), nil
}
