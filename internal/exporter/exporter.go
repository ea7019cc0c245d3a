package exporter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"kvexpress/internal/fleet"
	"kvexpress/internal/kv"
	"kvexpress/internal/wait"
)

// Limits of how often one looks: Options.Every is within them.
const (
	MinEvery = 5 * time.Second
	MaxEvery = 2 * time.Minute
)

const (
	// leastGap is the least time between two looks, as each brings all receipts.
	leastGap = 2 * time.Second
	// After failures the next look is made less and less often, up to every retryMost.
	retryLeast, retryMost = 2 * time.Second, 30 * time.Second
)

// Options say how the fleet is looked at.
type Options struct {
	Store   kv.Store
	Layout  kv.Layout
	Every   time.Duration // how often to look at least; changes are seen before
	Gone    time.Duration // how long a node is silent before it is left out
	Version string        // of the program
	PerNode bool          // name the nodes that are missing
	Log     *slog.Logger
	Guide   kv.Guide // for what is logged
}

// Exporter looks at the fleet, and says what it saw. Its methods but for Run and Once,
// of which one may run at a time, are safe for concurrent use.
type Exporter struct {
	o       Options
	scanner *fleet.Scanner
	started time.Time

	mu       sync.Mutex
	last     *fleet.Scan // that succeeded
	failed   error       // why the last one did not
	good     uint64
	bad      uint64
	progress time.Time // when a look began or ended
}

// New makes an Exporter. Nothing is read yet.
func New(o Options) *Exporter {
	now := time.Now()
	return &Exporter{o: o, scanner: fleet.NewScanner(o.Store, o.Layout, o.Gone), started: now, progress: now}
}

// Run looks until the context ends.
func (e *Exporter) Run(ctx context.Context) {
	gap := max(leastGap, e.o.Every/3)
	for failures := 0; ; {
		pause := gap
		if err := e.Once(ctx); ctx.Err() != nil {
			return
		} else if err != nil {
			pause = wait.Backoff{Least: retryLeast, Most: retryMost}.After(failures)
			failures++
		} else {
			failures = 0
		}
		if wait.For(ctx, pause) != nil {
			return
		}
	}
}

// Once looks once. After a look that succeeded it waits for a change before the next one,
// for Options.Every at most. The error is the store's.
func (e *Exporter) Once(ctx context.Context) error {
	most := max(0, e.o.Every-max(leastGap, e.o.Every/3))
	limited, cancel := context.WithTimeout(ctx, most+fleet.ScanLimit)
	defer cancel()
	e.touch()
	look, err := e.scanner.Scan(limited, most)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case limited.Err() != nil:
		look, err = nil, fmt.Errorf("%w: a look takes longer than %s", kv.ErrUnreachable, most+fleet.ScanLimit)
	}
	e.note(look, err)
	return err
}

func (e *Exporter) touch() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.progress = time.Now()
}

// note keeps what a look came to, and logs when that is news.
func (e *Exporter) note(look *fleet.Scan, err error) {
	e.mu.Lock()
	before, first := e.failed, e.good+e.bad == 0
	e.failed, e.progress = err, time.Now()
	if err == nil {
		e.last, e.good = look, e.good+1
	} else {
		e.bad++
	}
	e.mu.Unlock()
	switch {
	case err != nil && (before == nil || before.Error() != err.Error()):
		e.o.Log.Warn("the fleet cannot be looked at", "error", e.o.Guide.Explain(err))
	case err == nil && before != nil:
		e.o.Log.Info("the fleet is seen again", "keys", len(look.Keys), "receipts", look.Receipts)
	case err == nil && first:
		e.o.Log.Info("the fleet is seen", "keys", len(look.Keys), "receipts", look.Receipts)
	}
}

// WriteMetrics writes what is known at a time.
func (e *Exporter) WriteMetrics(w io.Writer, now time.Time) error {
	return e.metrics().Write(w, now)
}

func (e *Exporter) metrics() fleet.Metrics {
	e.mu.Lock()
	defer e.mu.Unlock()
	return fleet.Metrics{
		Version: e.o.Version, Started: e.started, Every: e.o.Every, PerNode: e.o.PerNode,
		Last: e.last, Failed: e.failed, Good: e.good, Bad: e.bad,
	}
}

// Ready tells why nothing is known yet; nil from the first look that succeeded. It stays
// nil when the store goes away: then it is kvexpress_fleet_up that tells.
func (e *Exporter) Ready() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.last != nil:
		return nil
	case e.failed != nil:
		return e.failed
	}
	return errors.New("the first look has not ended yet")
}

// Trouble is why the last look failed; nil if it did not.
func (e *Exporter) Trouble() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.failed
}

// Healthy tells that a look hangs, longer than all of its limits: restart the process.
func (e *Exporter) Healthy() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if since := time.Since(e.progress); since > e.o.Every+fleet.ScanLimit+retryMost {
		return fmt.Errorf("nothing has happened for %s", since.Round(time.Second))
	}
	return nil
}
