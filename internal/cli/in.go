package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"kvexpress/internal/cli/render"
	"kvexpress/internal/command"
	"kvexpress/internal/fleet"
	"kvexpress/internal/gate"
	"kvexpress/internal/kv"
	"kvexpress/internal/observe"
	"kvexpress/internal/publish"
	"kvexpress/internal/record"
)

type inFlags struct {
	publishFlags
	file, url  string
	urlTimeout time.Duration
	limits     gate.Limits
	sorted     bool
	encoding   string
}

// publishFlags are those of in and rollback.
type publishFlags struct {
	key, message, ifVersion  string
	ignoreStop, dryRun, diff bool
	wait                     waitFlags
}

func (f *publishFlags) register(fl *pflag.FlagSet, about string) {
	fl.StringVarP(&f.key, "key", "k", "", about)
	fl.StringVarP(&f.message, "message", "m", "", "`reason`, shown in history")
	fl.StringVar(&f.ifVersion, "if-version", "", "publish only if this `version` is live (0: no version, or one of 1.x)")
	fl.BoolVar(&f.ignoreStop, "ignore-stop", false, "publish even if the key is stopped; nodes stay stopped")
	fl.BoolVar(&f.dryRun, "dry-run", false, "print what would happen, and change nothing")
	fl.BoolVar(&f.diff, "diff", false, "print the difference to the live version")
	f.wait.register(fl, "")
}

// request is what the flags ask for, as far as they tell it, and the exec.
func (s *session) request(f publishFlags) (req publish.Request, argv []string, err error) {
	req = publish.Request{MinLines: s.g.length, Message: f.message, IgnoreStop: f.ignoreStop, DryRun: f.dryRun}
	if req.Key, err = s.key(f.key); err != nil {
		return req, nil, err
	}
	if f.ifVersion != "" {
		v, err := parseVersion("--if-version", f.ifVersion)
		if err != nil {
			return req, nil, err
		}
		req.IfVersion = &v
	}
	if argv, err = s.execArgv(); err == nil {
		err = f.wait.check()
	}
	return req, argv, err
}

func (a *App) newIn(g *globals) *cobra.Command {
	var f inFlags
	cmd := a.with(g, &cobra.Command{
		Use:   "in -k KEY -f FILE",
		Short: "Publish a file to the store",
		Long: `Publish a file: put it into Consul, for every node to install.

Too short or empty content is refused, and so is a stopped key. --max-shrink and
--max-change compare the lines with those of the live version. The same content
again writes nothing. Several publishers may run the same job at the same time.`,
		Example: `  kvexpress in -k hosts -f /etc/consul-template/output/hosts.consul -l 100 --sorted
  generate-hosts | kvexpress in -k hosts -f - -m 'nightly run'
  kvexpress in -k config --prefix tmp -l 5 --url https://example.com/config
  kvexpress in -k hosts -f hosts -l 100 --max-shrink 20% --max-change 30%
  kvexpress in -k hosts -f hosts --dry-run --diff`,
		Annotations: uses(flagsStore, "length compress", flagsExec, flagsReport),
	}, func(ctx context.Context, s *session, _ []string) (report, error) { return s.in(ctx, f) })
	fl := cmd.Flags()
	f.register(fl, "`key` to publish under")
	fl.StringVarP(&f.file, "file", "f", "", "`file` to publish; - is standard input")
	fl.StringVarP(&f.url, "url", "u", "", "`URL` to publish instead of a file; the answer must be 2xx")
	durationVar(fl, &f.urlTimeout, "url-timeout", 30*time.Second, "time limit of the download")
	fl.BoolVarP(&f.sorted, "sorted", "S", false, "sort the lines; remove blank lines and the last newline")
	registerLimits(fl, &f.limits)
	fl.StringVar(&f.encoding, "encoding", "", "`encoding` in the store: plain, brotli, or zstd (1.x cannot read zstd)")
	return cmd
}

// registerLimits is for what publishes new content.
func registerLimits(fl *pflag.FlagSet, l *gate.Limits) {
	fl.Var(&l.Shrink, "max-shrink", "refuse content that loses more than this `percentage` of the live version's lines")
	fl.Var(&l.Change, "max-change", "refuse content that adds or removes more than this `percentage` of the live version's lines")
}

func (s *session) in(ctx context.Context, f inFlags) (report, error) {
	req, argv, err := s.request(f.publishFlags)
	if err != nil {
		return nil, err
	}
	req.Limits = f.limits
	if req.Encoding, err = s.g.encodingOf(f.encoding); err != nil {
		return nil, err
	}
	if req.Content, err = s.source(ctx, f); err != nil {
		s.observeFailure(err, "", "")
		return nil, err
	}
	if f.sorted {
		if encoding := record.NotSortable(req.Content); encoding != "" {
			return nil, &gate.Refusal{Reason: gate.NotText, Key: req.Key, Detail: "--sorted: the encoding is " + encoding,
				Remedy: "convert it with `iconv -t UTF-8`, or leave out --sorted"}
		}
		req.Content = record.Sort(req.Content)
	}
	r, err := s.publish(ctx, req, argv, f.diff, "")
	if r == nil {
		return refused(err), err
	}
	if err == nil {
		err = s.published(ctx, r, f.wait)
	}
	return *r, err
}

// source reads what is to be published.
func (s *session) source(ctx context.Context, f inFlags) ([]byte, error) {
	switch {
	case f.file == "" && f.url == "":
		return nil, errors.New("there is nothing to publish; give a file with -f, or a URL with -u")
	case f.file != "" && f.url != "":
		return nil, errors.New("-f and -u exclude each other; give one of them")
	case f.url != "":
		p := render.NewSteps(s.Stderr, s.about)
		p.Step("reading the URL")
		defer p.Step("")
		content, err := publish.ReadURL(ctx, f.url, publish.URLOptions{Timeout: f.urlTimeout})
		if err != nil && !as[*gate.Refusal](err) {
			s.panicked(s.about, observe.LocationReadURL)
		}
		return content, err
	case f.file == "-":
		return publish.ReadAll(s.Stdin)
	}
	return publish.ReadFile(ctx, f.file)
}

// publish is shared by in, rollback and copy, which says from where: publish, tell the
// observers, run the exec. The report is nil if nothing was done.
func (s *session) publish(ctx context.Context, req publish.Request, argv []string, diff bool, copied kv.Key) (*inReport, error) {
	ctx, done := s.interruptible(ctx)
	defer done()
	p := render.NewSteps(s.Stderr, string(req.Key))
	p.Step("asking the store")
	publisher := s.publisher()
	publisher.Step = s.PublishHook
	result, err := publisher.Publish(ctx, req)
	p.Step("")
	if err != nil {
		s.observeFailedPublish(ctx, req, err)
		return nil, err
	}
	for _, note := range result.Notes {
		s.warn(note)
	}
	r := &inReport{
		Key: result.Key, Outcome: result.Outcome, Version: result.Version, Lineage: result.Lineage,
		SHA256: result.SHA256, Size: result.Size, Lines: result.Lines, Attempts: result.Attempts,
		Change: result.Change, event: result.EventLeft, previous: result.Previous, stood: result.Old != nil, at: result.PublishedAt,
	}
	if diff && result.Outcome != publish.Unchanged { // if it cannot be shown, nor can the result
		from, to := fmt.Sprintf("%s (%s)", req.Key, render.Version(result.Previous)), fmt.Sprintf("%s (version %d)",
			req.Key, result.Version)
		_ = s.showDiff(from, to, result.Old, req.Content)
	}
	switch result.Outcome {
	case publish.Unchanged:
		s.place = observe.LocationSameFile
		if copied != "" {
			s.place = observe.LocationSameStored
		}
		return r, nil
	case publish.WouldPublish:
		return r, nil
	}
	s.log.Info("published", "key", result.Key, "version", result.Version, "sha256", result.SHA256, "size", result.Size, "lines",
		result.Lines)
	s.metrics.Count("in", string(req.Key), observe.LocationComplete)
	s.metrics.Gauge("bytes", string(req.Key), observe.LocationComplete, int64(result.Stored))
	s.metrics.Gauge("lines", string(req.Key), observe.LocationComplete, int64(result.Lines))
	switch {
	case !s.events.Enabled():
	case copied != "":
		s.event(s.events.Copied(ctx, string(copied), string(req.Key)))
	default:
		s.event(s.events.Updated(ctx, s.layout.Data(req.Key), render.EventDiff(result.Old, req.Content)))
	}
	r.Exec, err = s.exec(ctx, argv, "KVEXPRESS_KEY="+string(req.Key), "KVEXPRESS_SHA256="+result.SHA256,
		"KVEXPRESS_VERSION="+strconv.FormatUint(result.Version, 10))
	return r, err
}

func (s *session) publisher() *publish.Publisher {
	return &publish.Publisher{
		Store: s.store, Once: s.plain, Layout: s.layout, By: s.author(), Log: s.log,
		Nodes: func(ctx context.Context) int { return fleet.Count(ctx, s.plain, s.layout) },
	}
}

// exec runs the exec of a command that installs nothing.
func (s *session) exec(ctx context.Context, argv []string, env ...string) (*execReport, error) {
	if len(argv) == 0 {
		return nil, nil
	}
	s.log.Debug("exec", "command", argv[0])
	ctx, done := s.interruptible(ctx)
	defer done()
	p := render.NewSteps(s.Stderr, s.about)
	p.Step("running the exec")
	defer p.Step("")
	result, err := command.Run(ctx, command.Command{Argv: argv, Timeout: s.g.execTimeout, Env: env})
	if err != nil {
		err = &execError{err}
	}
	return reportExec(&result), err
}

func (s *session) observeFailedPublish(ctx context.Context, req publish.Request, err error) {
	var stopped *gate.Stopped
	var refusal *gate.Refusal
	s.observeFailure(err, s.layout.Data(req.Key), observe.LocationSet)
	switch {
	case errors.As(err, &stopped):
		s.place = observe.LocationStopped
		if s.events.Enabled() {
			s.event(s.events.StopPresent(ctx, s.layout.Stop(req.Key), stopped.Reason))
		}
	case errors.As(err, &refusal):
		if s.events.Enabled() {
			text := refusal.Detail
			if bytes.IndexByte(req.Content, 0) < 0 { // 1.x sent it all; it is cut to what an event may hold
				text += "\n\n" + string(req.Content)
			}
			s.event(s.events.Refused(ctx, string(req.Key), s.place, text))
		}
	}
}

type inReport struct {
	Key      kv.Key          `json:"key"`
	Outcome  publish.Outcome `json:"outcome"`
	Version  uint64          `json:"version"`
	Lineage  string          `json:"lineage,omitempty"`
	SHA256   string          `json:"sha256"`
	Size     int             `json:"size"`
	Lines    int             `json:"lines"`
	Attempts int             `json:"attempts"`
	Change   *gate.Change    `json:"change,omitempty"`
	Exec     *execReport     `json:"exec,omitempty"`
	Waited   *waitReport     `json:"wait,omitempty"`

	event    bool      // the event of the request is in the store
	previous uint64    // the managed version that stood before; 0: none
	stood    bool      // there were whole bytes before
	at       time.Time // when it was published; zero: nothing was
}

func (r inReport) lines() []string {
	lines := []string{r.line()}
	if r.Change != nil && r.Outcome == publish.WouldPublish {
		lines = append(lines, changeLines(r.Change)...)
	}
	if r.Waited != nil {
		lines = append(lines, r.Waited.lines()...)
	}
	return lines
}

func (r inReport) line() string {
	what := r.what()
	switch r.Outcome {
	case publish.Unchanged:
		return fmt.Sprintf("%s: unchanged, %s stands (%s)", r.Key, render.Version(r.Version), what)
	case publish.WouldPublish:
		return fmt.Sprintf("%s: would publish version %d (%s)", r.Key, r.Version, what)
	case publish.Healed:
		return fmt.Sprintf("%s: was damaged, published again as version %d (%s)", r.Key, r.Version, what)
	}
	return fmt.Sprintf("%s: published version %d (%s)", r.Key, r.Version, what)
}

// what is the content in a few words.
func (r inReport) what() string {
	return fmt.Sprintf("%s, %s, sha256 %s", render.Plural(r.Lines, "line"), render.Plural(r.Size, "byte"), render.Short(r.SHA256))
}

// refused is the report for content that is refused because of its change; else nil.
func refused(err error) report {
	var r *gate.Refusal
	if !errors.As(err, &r) || r.Change == nil {
		return nil
	}
	return refusedReport{Key: r.Key, Change: r.Change}
}

type refusedReport struct {
	Key    kv.Key       `json:"key"`
	Change *gate.Change `json:"change"`
}

func (r refusedReport) lines() []string { return changeLines(r.Change) }

// changeLines show how content differs from the live version, with the first lost lines.
func changeLines(c *gate.Change) []string {
	lines := []string{fmt.Sprintf("  loses %d of %s, gains %d", c.Lost, render.Plural(c.Before, "line"), c.Gained)}
	for _, line := range c.Lines {
		lines = append(lines, "  - "+line)
	}
	if more := c.Lost - len(c.Lines); more > 0 {
		lines = append(lines, fmt.Sprintf("  and %d more", more))
	}
	return lines
}
