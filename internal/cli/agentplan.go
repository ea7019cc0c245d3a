package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"

	"kvexpress/internal/agent"
	"kvexpress/internal/cli/render"
	"kvexpress/internal/config"
	"kvexpress/internal/install"
)

// planLine is what the agent would do for one target.
type planLine struct {
	outReport
	Error    string   `json:"error,omitempty"`
	WouldRun []string `json:"would_run,omitempty"` // the exec
	Diff     string   `json:"diff,omitempty"`
	Why      string   `json:"why,omitempty"` // there is no diff
	shown    []byte
}

// planReport is what the agent would do, for `agent --dry-run`.
type planReport struct {
	Node    string      `json:"node"`
	Targets []*planLine `json:"targets"`
}

// planAgent says what the agent would do. The first target that would fail gives the error.
func (a *App) planAgent(ctx context.Context, path string, diff bool) (report, error) {
	c, host, err := a.loadAgentFile(path)
	if err != nil {
		return nil, err
	}
	r := &planReport{Node: c.Node, Targets: []*planLine{}}
	var bad []error
	code := exitOK
	o := agent.Options{Config: c, Open: openStores, Hubs: openHubs, Host: host, Version: build().version,
		Log: slog.New(slog.DiscardHandler), Fault: a.FaultHook}
	err = agent.Plan(ctx, o, diff, func(t config.Target, result install.Result, err error) {
		line := a.planLine(t, result, err)
		r.Targets = append(r.Targets, line)
		if err != nil && strictExit(line.Outcome) != exitOK {
			if bad = append(bad, fmt.Errorf("%s: %w", t.File, err)); len(bad) == 1 {
				code = strictExit(line.Outcome)
			}
		}
	})
	switch {
	case err != nil:
		return r, err
	case len(bad) == 1:
		return r, &strictError{bad[0], code}
	case len(bad) > 1:
		targets := render.Plural(len(r.Targets), "target")
		return r, &strictError{fmt.Errorf("%d of %s would fail; first: %w", len(bad), targets, bad[0]), code}
	}
	return r, nil
}

func (a *App) planLine(t config.Target, result install.Result, err error) *planLine {
	result.Key, result.File = string(t.Key), t.File
	l := &planLine{outReport: reportOut(result, err)}
	if err != nil && strictExit(l.Outcome) != exitOK {
		l.Error = render.Error(err)
	}
	if len(t.Exec) > 0 && (result.Action == install.WouldInstall || result.ExecPending) {
		l.WouldRun = t.Exec
	}
	if result.New != nil && result.Action == install.WouldInstall {
		to := fmt.Sprintf("%s (%s)", result.Key, render.Version(result.Version))
		l.Diff, l.Why = render.Unified(t.File, to, result.Old, result.New)
		l.shown = render.Diff(a.colour(), t.File, to, result.Old, result.New)
	}
	return l
}

func (r *planReport) lines() (all []string) {
	runs := map[string]bool{}
	for _, l := range r.Targets {
		if l.Error != "" {
			all = append(all, render.Line(l.File+": unchanged; "+l.Outcome.Text()+": "+l.Error))
		} else {
			all = append(all, l.lines()...)
		}
		if run := commandLine(l.WouldRun); run != "" && !runs[run] { // targets share a run
			runs[run] = true
			all = append(all, render.Line("  would run: "+run))
		}
		if len(l.shown) > 0 {
			all = append(all, strings.Split(strings.TrimSuffix(string(l.shown), "\n"), "\n")...)
		}
	}
	if len(all) == 0 {
		all = []string{"no targets"}
	}
	return all
}

// checkPlanFlags refuses flags that do not fit together.
func checkPlanFlags(check, once, dryRun, diff bool) error {
	switch {
	case once && !dryRun:
		return errors.New("--once needs --dry-run; `kvexpress out` installs a file once")
	case diff && !dryRun:
		return errors.New("--diff needs --dry-run")
	case check && dryRun:
		return errors.New("--check-config and --dry-run exclude each other; give one of them")
	}
	return nil
}

// commandLine is argv for people.
func commandLine(argv []string) string {
	words := slices.Clone(argv)
	for i, word := range words {
		if word == "" || strings.ContainsAny(word, " \t\n'\"\\") {
			words[i] = strconv.Quote(word)
		}
	}
	return strings.Join(words, " ")
}
