package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"kvexpress/internal/cli/render"
	"kvexpress/internal/fleet"
)

// waitFlags are those of commands that can wait for arrival.
type waitFlags struct {
	share   string
	timeout time.Duration
	expiry  time.Duration
}

func (f *waitFlags) register(fl *pflag.FlagSet, what string) {
	fl.StringVar(&f.share, "wait", "", "wait until this `share` of the nodes, such as 99%, has "+cmp.Or(what, "the new version"))
	durationVar(fl, &f.timeout, "timeout", 30*time.Second, "time limit of --wait, 1s to 24h")
	durationVar(fl, &f.expiry, "expire-after", fleet.DefaultExpiry, "leave out nodes without contact for this long")
}

func (f *waitFlags) asked() bool { return f.share != "" }

func (f *waitFlags) check() error {
	switch {
	case f.expiry <= 0:
		return errors.New("--expire-after must be more than 0, such as 24h")
	case !f.asked():
		return nil
	case f.timeout < time.Second || f.timeout > 24*time.Hour:
		return errors.New("--timeout must be from 1s to 24h")
	}
	_, err := f.goal()
	return err
}

// goal is the share that is waited for, from 0 to 1.
func (f *waitFlags) goal() (float64, error) {
	number, percent := strings.CutSuffix(f.share, "%")
	n, err := strconv.ParseFloat(number, 64)
	if !percent || err != nil || !(n > 0 && n <= 100) {
		return 0, fmt.Errorf("--wait %s is not a share; give one such as 99%%, above 0%% and up to 100%%", render.Line(f.share))
	}
	return n / 100, nil
}

// waitReport is the result of a wait.
type waitReport struct {
	Share  float64      `json:"share"` // that was asked for
	Report fleet.Report `json:"fleet"`
	Took   fleet.Millis `json:"took_ms"` // from the publish, or else from the start of the wait
}

// wait waits for arrival, and shows how it goes on.
func (s *session) wait(ctx context.Context, f waitFlags, g fleet.Goal) (*waitReport, error) {
	var err error
	if g.Share, err = f.goal(); err != nil {
		return nil, err
	}
	ctx, done := s.interruptible(ctx)
	defer done()
	g.Timeout, g.Expiry = f.timeout, f.expiry
	b := render.NewBar(s.screen(), string(g.Key), s.utf8())
	g.Progress = func(r fleet.Report) {
		b.Show(r.Share(), fmt.Sprintf("%s  %d/%d nodes", percent(r), r.Converged, r.Nodes))
	}
	g.Progress(fleet.Report{})
	reader := s.reader(s.plain)
	began := time.Now()
	if !g.Began.IsZero() {
		began = g.Began
	}
	r, err := reader.Wait(ctx, g)
	b.End()
	return &waitReport{Share: g.Share, Report: r, Took: fleet.Millis(time.Since(began))}, err
}

func (w *waitReport) lines() []string {
	r := w.Report
	if r.Nodes == 0 {
		return nil // the error says it
	}
	lines := []string{fmt.Sprintf("%s: %d of %s have %s after %s (of nodes that report this key)",
		r.Key, r.Converged, render.Plural(r.Nodes, "node"), render.Version(r.Version), render.Took(time.Duration(w.Took)))}
	if d := r.Delivered; d.Count > 0 {
		lines = append(lines, "  delivered  "+percentiles(d))
	}
	return append(lines, stragglers(r, false)...)
}

// screen is the terminal of the user who waits; nil without one.
func (s *session) screen() io.Writer {
	switch {
	case s.inside != nil:
		return s.inside.screen
	case render.IsTerminal(s.Stderr):
		return s.Stderr
	}
	return nil
}

// utf8 reports whether terminals here show more than ASCII, as the environment has it.
func (a *App) utf8() bool {
	locale := strings.ToUpper(cmp.Or(a.Getenv("LC_ALL"), a.Getenv("LC_CTYPE"), a.Getenv("LANG")))
	return strings.Contains(locale, "UTF-8") || strings.Contains(locale, "UTF8")
}

// percent is rounded down: 100 % means all.
func percent(r fleet.Report) string {
	return fmt.Sprintf("%.1f %%", float64(int(r.Share()*1000))/10)
}

func percentiles(p fleet.Percentiles) string {
	return fmt.Sprintf("p50 %s  p90 %s  p99 %s  slowest %s (%s)", render.Took(time.Duration(p.P50)),
		render.Took(time.Duration(p.P90)),
		render.Took(time.Duration(p.P99)), render.Took(time.Duration(p.Slowest)), render.Line(p.SlowestNode))
}
