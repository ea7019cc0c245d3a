package cli

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"kvexpress/internal/gate"
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
	staged     stagedFlags
}

// publishFlags are those of in and rollback.
type publishFlags struct {
	message, ifVersion       string
	ignoreStop, dryRun, diff bool
	wait                     waitFlags
}

func (f *publishFlags) register(fl *pflag.FlagSet, g *globals, about string) {
	fl.StringVarP(&g.key, "key", "k", "", about)
	fl.StringVarP(&f.message, "message", "m", "", "`reason`, shown in history")
	fl.StringVar(&f.ifVersion, "if-version", "", "publish only if this `version` is live (0: no version, or one of 1.x)")
	fl.BoolVar(&f.ignoreStop, "ignore-stop", false, "publish even if the key is stopped; nodes stay stopped")
	fl.BoolVar(&f.dryRun, "dry-run", false, "print what would happen, and change nothing")
	fl.BoolVar(&f.diff, "diff", false, "print the difference to the live version")
	f.wait.register(fl, "")
}

// publication is what the flags say, without the content.
func (s *session) publication(f publishFlags) (p publication, err error) {
	p = publication{diff: f.diff, wait: f.wait, Request: publish.Request{
		Key: s.k, MinLines: s.g.length, Message: f.message, IgnoreStop: f.ignoreStop, DryRun: f.dryRun,
	}}
	if f.ifVersion != "" {
		v, err := parseVersion("--if-version", f.ifVersion)
		if err != nil {
			return p, err
		}
		p.IfVersion = &v
	}
	return p, f.wait.check()
}

func (a *App) newIn(g *globals) *cobra.Command {
	var f inFlags
	cmd := a.with(g, "in", uses(needsKey, flagsStore, "hub length compress", flagsExec, flagsReport),
		func(ctx context.Context, s *session) (report, error) { return s.in(ctx, f) })
	fl := cmd.Flags()
	f.register(fl, g, "`key` to publish under")
	fl.StringVarP(&f.file, "file", "f", "", "`file` to publish; - is standard input")
	fl.StringVarP(&f.url, "url", "u", "", "`URL` to publish instead of a file; the answer must be 2xx")
	durationVar(fl, &f.urlTimeout, "url-timeout", 30*time.Second, "time limit of the download")
	fl.BoolVarP(&f.sorted, "sorted", "S", false, "sort the lines; remove blank lines and the last newline")
	registerLimits(fl, &f.limits)
	f.staged.register(fl)
	fl.StringVar(&f.encoding, "encoding", "", "`encoding` in the store: plain, brotli, or zstd (1.x cannot read zstd)")
	return cmd
}

// registerLimits adds the flags of commands that publish new content.
func registerLimits(fl *pflag.FlagSet, l *gate.Limits) {
	fl.Var(&l.Shrink, "max-shrink", "refuse content that loses more than this `percentage` of the live version's lines")
	fl.Var(&l.Change, "max-change", "refuse content that adds or removes more than this `percentage` of the live version's lines")
}

func (s *session) in(ctx context.Context, f inFlags) (report, error) {
	p, err := s.publication(f.publishFlags)
	if err != nil {
		return nil, err
	}
	p.Limits, p.staged = f.limits, f.staged
	if p.Encoding, err = s.g.encodingOf(f.encoding); err != nil {
		return nil, err
	}
	if p.Content, err = s.source(ctx, f); err != nil {
		s.observeFailure(err, "", "")
		return nil, err
	}
	if f.sorted {
		if encoding := record.NotSortable(p.Content); encoding != "" {
			return nil, &gate.Refusal{Reason: gate.NotText, Key: p.Key, Detail: "--sorted: the encoding is " + encoding,
				Remedy: "convert it with `iconv -t UTF-8`, or leave out --sorted"}
		}
		p.Content = record.Sort(p.Content)
	}
	r, err := s.publish(ctx, p)
	if r == nil {
		return refused(err), err
	}
	return *r, err
}

// source reads the content.
func (s *session) source(ctx context.Context, f inFlags) ([]byte, error) {
	switch {
	case f.file == "" && f.url == "":
		return nil, errors.New("there is nothing to publish; give a file with -f, or a URL with -u")
	case f.file != "" && f.url != "":
		return nil, errors.New("-f and -u exclude each other; give one of them")
	case f.url != "":
		content, err := publish.ReadURL(ctx, f.url, f.urlTimeout)
		if err != nil && !as[*gate.Refusal](err) {
			s.panicked(s.about, observe.LocationReadURL)
		}
		return content, err
	case f.file == "-":
		return publish.ReadAll(s.Stdin)
	}
	return publish.ReadFile(ctx, f.file)
}
