package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"kvexpress/internal/agent"
	"kvexpress/internal/cli/render"
	"kvexpress/internal/gate"
	"kvexpress/internal/install"
	"kvexpress/internal/kv"
	"kvexpress/internal/outcome"
)

type outFlags struct {
	file         string
	check        string
	stateDir     string
	ignoreStop   bool
	inPlace      bool
	restore      bool
	strict       bool
	missingOK    bool
	dryRun, diff bool
	noReceipt    bool
}

func (a *App) newOut(g *globals) *cobra.Command {
	var f outFlags
	cmd := a.with(g, "out", uses(needsKey, flagsStore, "length", flagsFile, flagsExec, flagsReport),
		func(ctx context.Context, s *session) (report, error) {
			return s.install(ctx, install.Target{Key: s.k, IgnoreStop: f.ignoreStop}, f)
		})
	fl := cmd.Flags()
	fl.StringVarP(&g.key, "key", "k", "", "`key` to install")
	f.register(cmd)
	fl.BoolVar(&f.ignoreStop, "ignore-stop", false, "install even if the key is stopped")
	fl.BoolVar(&f.noReceipt, "no-receipt", false, "write no receipt; \"kvexpress status\" does not see this install")
	return cmd
}

// register adds the flags that out and raw share.
func (f *outFlags) register(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVarP(&f.file, "file", "f", "", "`file` to write")
	fl.StringVar(&f.check, "check", "", "`command` that must succeed before the new file, {file}, is installed")
	fl.StringVar(&f.stateDir, "state-dir", "",
		"`folder` to remember what was installed (default /var/lib/kvexpress for root, else ~/.local/state/kvexpress)")
	fl.BoolVar(&f.inPlace, "in-place", false,
		"overwrite the file instead of renaming it, for bind mounts; readers can see a torn file")
	fl.BoolVar(&f.restore, "restore-on-failure", false, "restore the old content if the exec fails")
	fl.BoolVar(&f.strict, "strict", false, "exit 3 if the key is stopped, 4 if the file is locked")
	fl.BoolVar(&f.missingOK, "missing-ok", false, "exit 0 if there is no such key")
	fl.BoolVar(&f.dryRun, "dry-run", false, "print what would happen, and change nothing")
	fl.BoolVar(&f.diff, "diff", false, "print the difference to the live version")
}

// install is shared by out and raw: it completes the target, installs it and reports.
func (s *session) install(ctx context.Context, t install.Target, f outFlags) (report, error) {
	var err error
	if t.File, err = install.ParseFile(f.file); err != nil {
		return nil, err
	}
	if err := s.fileOf(&t); err != nil {
		return nil, err
	}
	if t.Check, err = s.split("--check", f.check); err != nil {
		return nil, err
	}
	if t.Check != nil {
		if err := install.ParseCheck(t.Check); err != nil {
			return nil, err
		}
	}
	t.Exec = install.FillFile(s.argv, t.File)
	t.InPlace, t.RestoreOnFailure, t.DryRun, t.Diff = f.inPlace, f.restore, f.dryRun, f.diff
	dir := cmp.Or(f.stateDir, s.StateDir)
	if dir == "" {
		if dir, err = install.DefaultStateDir(s.Getenv); err != nil {
			return nil, err
		}
	} else if dir, err = install.ParseFile(dir); err != nil {
		return nil, fmt.Errorf("--state-dir: %w", err)
	}
	t.Waiting = func(holder string) {
		s.warn(fmt.Sprintf("%s: waiting for %s, which has locked it", t.File, holder))
	}
	d := install.Installer{Store: s.store, Layout: s.layout, Host: s.host, StateDir: dir, Fault: s.FaultHook,
		Interruptible: s.Interruptible}
	result, err := d.Install(ctx, t)
	for _, note := range result.Notes {
		s.warn(note)
	}
	s.observeDelivery(t, result, f.missingOK, err)
	if t.Raw == "" && !t.DryRun && !f.noReceipt {
		s.receipt(ctx, dir, result, err)
	}
	if f.diff && result.New != nil && result.Action != install.NoAction { // if it cannot be shown, nor can the result
		_ = s.showDiff(t.File, fmt.Sprintf("%s (%s)", result.Key, render.Version(result.Version)), result.Old, result.New)
	}
	r := reportOut(result, err)
	r.raw = t.Raw != ""
	return s.judge(r, err, f)
}

// judge makes a freeze without --strict, and a missing key with --missing-ok, a line instead of an error.
func (s *session) judge(r outReport, err error, f outFlags) (report, error) {
	switch r.Outcome {
	case outcome.Stopped, outcome.Locked:
		err = s.unless(!f.strict, err)
	case outcome.Missing:
		err = s.unless(f.missingOK, err)
	}
	r.failed = err != nil
	return r, err
}

// unless drops an error that is fine here. The log still says why the file did not change.
func (s *session) unless(fine bool, err error) error {
	if !fine {
		return err
	}
	s.log.Info(render.Error(err))
	return nil
}

type outReport struct {
	Key     string          `json:"key"`
	File    string          `json:"file"`
	Outcome outcome.Outcome `json:"outcome,omitempty"` // "" in a dry run that would change something
	Action  install.Action  `json:"action,omitempty"`
	Reason  string          `json:"reason,omitempty"`
	Since   time.Time       `json:"since,omitzero"` // of a stop or a lock
	Until   time.Time       `json:"until,omitzero"` // of a lock that ends by itself
	Version uint64          `json:"version,omitempty"`
	Lineage string          `json:"lineage,omitempty"`
	SHA256  string          `json:"sha256,omitempty"`
	Had     uint64          `json:"previous_version,omitempty"`
	Before  string          `json:"previous_sha256,omitempty"`
	Size    int             `json:"size,omitempty"`
	Lines   int             `json:"lines,omitempty"`
	Check   *execReport     `json:"check,omitempty"`
	Exec    *execReport     `json:"exec,omitempty"`
	Notes   []string        `json:"notes,omitempty"`
	failed  bool
	raw     bool // the value has no version
}

func reportOut(result install.Result, err error) outReport {
	r := outReport{
		Key: result.Key, File: result.File, Action: result.Action, Version: result.Version, Lineage: result.Lineage,
		SHA256: result.SHA256, Had: result.Had, Before: result.Before, Size: result.Size, Lines: result.Lines,
		Check: reportExec(result.Check), Exec: reportExec(result.Exec), Notes: result.Notes,
	}
	switch result.Action {
	case install.WouldInstall, install.WouldRepair, install.WouldExec:
	default:
		r.Outcome, _ = agent.Judge(result, err)
	}
	var stopped *gate.Stopped
	var locked *gate.Locked
	var refusal *gate.Refusal
	switch {
	case errors.As(err, &stopped):
		r.Reason, r.Since = stopped.Reason, stopped.Since
	case errors.As(err, &locked):
		r.Reason, r.Since, r.Until = locked.Reason, locked.Since, locked.Until
	case errors.As(err, &refusal):
		r.Reason = string(refusal.Reason)
	}
	return r
}

func (r outReport) lines() []string {
	if r.failed { // the error tells it
		return nil
	}
	version := fmt.Sprintf("%s (%s, sha256 %s)", r.Key, render.Plural(r.Lines, "line"), render.Short(r.SHA256))
	if !r.raw {
		version = render.Version(r.Version) + " of " + version
	}
	before := ""
	if r.Had > 0 {
		before = fmt.Sprintf(" in place of version %d", r.Had)
	}
	text := map[install.Action]string{
		install.Unchanged:    "unchanged; it has " + version,
		install.Installed:    "installed " + version,
		install.Repaired:     "owner or mode corrected; it has " + version,
		install.Kept:         "kept; a rollout is not over, and it has the candidate " + version,
		install.ExecRan:      "unchanged; ran the exec for " + version,
		install.WouldInstall: "would install " + version + before,
		install.WouldRepair:  "would correct owner or mode; it has " + version,
		install.WouldExec:    "would run the exec for " + version,
	}[r.Action]
	switch r.Outcome {
	case outcome.Missing:
		text = fmt.Sprintf("unchanged; the store has no key %s", r.Key)
	case outcome.Stopped:
		text = fmt.Sprintf("unchanged; %s is stopped: %s", r.Key, r.Reason)
	case outcome.Locked:
		text = fmt.Sprintf("unchanged; the file is locked: %s", r.Reason)
		if !r.Until.IsZero() {
			text += fmt.Sprintf(" (until %s)", render.Time(r.Until))
		}
	}
	return []string{render.Line(r.File + ": " + text)}
}

func (a *App) newRaw(g *globals) *cobra.Command {
	var f outFlags
	cmd := a.with(g, "raw", uses(flagsStore, "length", flagsFile, flagsExec, flagsReport),
		func(ctx context.Context, s *session) (report, error) {
			path := strings.TrimPrefix(g.key, "/")
			if path == "" {
				return nil, errors.New("no path is given; name it with -k PATH")
			}
			if strings.HasSuffix(path, "/") {
				return nil, fmt.Errorf("%s is a folder; name a value below it with -k PATH", kv.Quote(path))
			}
			s.about = path
			return s.install(ctx, install.Target{Raw: path}, f)
		})
	cmd.Flags().StringVarP(&g.key, "key", "k", "", "full `path` of the value")
	f.register(cmd)
	cmd.Flags().Lookup("strict").Usage = "exit 4 when the file is locked"
	cmd.Flags().Lookup("missing-ok").Usage = "exit 0 when there is no such value"
	return cmd
}
