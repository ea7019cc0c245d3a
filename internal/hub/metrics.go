package hub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"kvexpress/internal/fleet"
	"kvexpress/internal/httpd"
	"kvexpress/internal/kv"
	"kvexpress/internal/observe"
	"kvexpress/internal/wait"
)

const (
	minEvery, maxEvery = 5 * time.Second, 2 * time.Minute // limits of MetricsOptions.Every
	// minGap is the shortest time between two scans: each reads all receipts.
	minGap = 2 * time.Second
	// After failures the time between scans grows from retryLeast to retryMost.
	retryLeast, retryMost = 2 * time.Second, 30 * time.Second
)

// Store is a store that a hub works on.
type Store interface {
	kv.Store
	kv.Pulser
	kv.Permissions
	// As is the same store with the token of a caller; "" is a caller without one.
	As(token string) (kv.Store, error)
}

// MetricsOptions configure the metrics of the fleet.
type MetricsOptions struct {
	Store   Store
	Layout  kv.Layout
	Every   time.Duration // longest time between two scans, 5s to 2m; a change is read earlier
	Expiry  time.Duration // time without contact after which a node is left out
	PerNode bool          // name the nodes that are missing
	Version string        // of the program
	Log     *slog.Logger
	Guide   kv.Guide // completes the remedies in the log

	receipts fleet.Hub  // nil: those in the store
	own      func() Own // nil: there are no agents
}

// Metrics scans the fleet again and again, and writes the last result for Prometheus. One Run or Once may run at a time; the
// other methods are safe for concurrent use.
type Metrics struct {
	o       MetricsOptions
	scanner *fleet.Scanner

	mu       sync.Mutex
	now      fleet.Metrics
	progress time.Time // when a scan last began or ended
}

// Check returns an error if a limit does not hold.
func (o *MetricsOptions) Check() error {
	switch {
	case o.Expiry <= 0:
		return errors.New("--expire-after must be more than 0, such as 24h")
	case o.Every < minEvery || o.Every > maxEvery:
		return fmt.Errorf("--read-every (read_every in hub.yml) must be from 5s to 2m")
	}
	return nil
}

// NewMetrics reads nothing yet.
func NewMetrics(o MetricsOptions) *Metrics {
	now := time.Now()
	return &Metrics{o: o, scanner: fleet.NewScanner(o.Store, o.Layout, o.receipts, o.Expiry), progress: now,
		now: fleet.Metrics{Version: o.Version, Started: now, Every: o.Every, PerNode: o.PerNode}}
}

// page answers a scrape.
func (m *Metrics) page(w http.ResponseWriter) {
	httpd.Begin(w, observe.ContentType)
	_ = m.Write(w, time.Now()) // it fails if the client has disconnected
}

// status is a few words for systemd.
func (m *Metrics) status() string {
	if _, err := m.result(); err != nil {
		return "cannot read the fleet: " + oneLine(err)
	}
	return "reads the fleet"
}

// Run scans until the context ends.
func (m *Metrics) Run(ctx context.Context) {
	gap := max(minGap, m.o.Every/3)
	for failures := 0; ; {
		pause := gap
		if err := m.Once(ctx); err != nil {
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

// Once scans once. After a scan that succeeded it first waits for a change, for at most MetricsOptions.Every. The error is
// the store's.
func (m *Metrics) Once(ctx context.Context) error {
	most := max(0, m.o.Every-max(minGap, m.o.Every/3))
	limited, cancel := context.WithTimeout(ctx, most+fleet.ScanLimit)
	defer cancel()
	m.mu.Lock()
	m.progress = time.Now()
	m.mu.Unlock()
	scan, err := m.scanner.Scan(limited, most)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case limited.Err() != nil:
		scan, err = nil, fmt.Errorf("%w: a scan takes longer than %s", kv.ErrUnreachable, most+fleet.ScanLimit)
	}
	m.note(scan, err)
	return err
}

// note keeps the result of a scan. It logs the first result and each change between success and failure.
func (m *Metrics) note(scan *fleet.Scan, err error) {
	m.mu.Lock()
	before, first := m.now.Failed, m.now.Last == nil
	m.now.Failed, m.progress = err, time.Now()
	if err == nil {
		m.now.Last = scan
	}
	m.mu.Unlock()
	switch {
	case err != nil && (before == nil || before.Error() != err.Error()):
		m.o.Log.Warn("cannot read the fleet", "error", m.o.Guide.Explain(err))
	case err == nil && (first || before != nil):
		m.o.Log.Info("fleet read", "keys", len(scan.Keys), "receipts", scan.Receipts)
	}
}

// Write writes the metrics as they are known now.
func (m *Metrics) Write(w io.Writer, now time.Time) error {
	m.mu.Lock()
	all := m.now
	m.mu.Unlock()
	if err := all.Write(w, now); err != nil || m.o.own == nil {
		return err
	}
	p := observe.NewProm(w)
	m.o.own().Write(p)
	return p.End()
}

// result is the last scan that succeeded, and the error of the last scan.
func (m *Metrics) result() (*fleet.Scan, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now.Last, m.now.Failed
}

// ready returns nil from the first scan that succeeded. It stays nil when the store becomes unreachable:
// kvexpress_fleet_up shows that.
func (m *Metrics) ready() error {
	switch last, err := m.result(); {
	case last != nil:
		return nil
	case err != nil:
		return err
	}
	return errors.New("the first scan of the fleet has not ended yet")
}

// healthy returns an error if a scan hangs for longer than all of its limits.
func (m *Metrics) healthy() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if since := time.Since(m.progress); since > m.o.Every+fleet.ScanLimit+retryMost {
		return fmt.Errorf("the scan of the fleet has hung for %s", since.Round(time.Second))
	}
	return nil
}
