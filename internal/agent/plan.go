package agent

import (
	"context"

	"kvexpress/internal/config"
	"kvexpress/internal/install"
)

// Plan passes each what a reconcile of every target would do now, in their order. Nothing changes: no file, no state, no receipt.
// An agent of the same configuration may run meanwhile. With diff, the results have the old and new bytes.
func Plan(ctx context.Context, o Options, diff bool, each func(config.Target, install.Result, error)) error {
	a, err := New(o)
	if err != nil {
		return err
	}
	if a.hubs != nil {
		a.hubs.about.Probe = true
		a.finding.start(ctx, a.hubs.run)
		defer func() { a.finding.end()() }()
		limited, cancel := context.WithTimeout(ctx, dialTime)
		_, _ = a.hubs.await(limited) // without a hub, each read says why, or asks the store
		cancel()
	}
	for _, r := range a.running {
		if err := ctx.Err(); err != nil {
			return err
		}
		t := r.Target.Target
		t.DryRun, t.Diff = true, diff
		result, err := r.installer.Install(ctx, t)
		each(r.Target, result, err)
	}
	return nil
}
