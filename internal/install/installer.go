package install

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"kvexpress/internal/atomicfile"
	"kvexpress/internal/command"
	"kvexpress/internal/gate"
	"kvexpress/internal/kv"
	"kvexpress/internal/record"
)

// lockWait is how long we wait for another process that works on the same
// target, beyond the time that its check and exec may take.
const lockWait = 30 * time.Second

// Installer installs targets. It is safe for concurrent use.
type Installer struct {
	Store    kv.Reader
	Layout   kv.Layout
	Host     string // the operating system's host name: locks go by it
	StateDir string // absolute; see DefaultStateDir
	// Interruptible returns a context that ends with a signal. It is called once
	// there is something to do: until then a signal may end the program where it
	// is, and setting signals up is a tenth of a run with nothing to do. nil: the
	// context of Deliver is taken as it is.
	Interruptible func(context.Context) (context.Context, context.CancelFunc)
	Fault         FaultHook // nil but in tests

	// known is what is in place at each path, see glance.
	known sync.Map
}

func (d *Installer) interruptible(ctx context.Context) (context.Context, context.CancelFunc) {
	if d.Interruptible == nil {
		return ctx, func() {}
	}
	return d.Interruptible(ctx)
}

// Deliver makes the target's file what the store says, and runs what goes with it.
//
// The error is a *gate.Locked or *gate.Stopped (frozen: deliberate), a *gate.Missing,
// a *gate.Refusal, an *ExecError, a *StateError, or wraps one of kv's sentinels
// or of atomicfile's. The result is valid beside an error: its Action tells
// whether the file was touched.
func (d *Installer) Install(ctx context.Context, t Target) (Result, error) {
	return d.InstallData(ctx, t, nil, nil)
}

// DeliverSeen is Deliver for a caller who has the data of the key already, as it is
// stored, from a watch perhaps. It need not be current: it spares a request if it
// is. The share is what the delivery holds of Limits.
func (d *Installer) InstallData(ctx context.Context, t Target, data []byte, share *Share) (Result, error) {
	tx, err := d.transaction(t)
	if err != nil {
		return Result{}, err
	}
	tx.data, tx.share = data, share
	err = errors.Join(tx.run(ctx), tx.close())
	tx.result.Frozen = tx.heldBy(err)
	return tx.result, err
}

// transaction sets up one for a target.
func (d *Installer) transaction(t Target) (*transaction, error) {
	place, err := atomicfile.Find(t.File, d.Fault.files())
	if err != nil {
		return nil, err
	}
	path := place.Path()
	r := reader{store: d.Store, layout: d.Layout, target: t, hook: d.Fault, now: time.Now}
	r.locks = []string{d.Layout.Lock(t.File, d.Host)}
	if path != t.File {
		r.locks = append(r.locks, d.Layout.Lock(path, d.Host))
	}
	return &transaction{
		Installer: d, reader: r, place: place, path: path, folder: stateFolder{path: d.StateDir},
		result: Result{Began: time.Now(), Key: t.name(), File: t.File, Path: path},
	}, nil
}

// Longest is how long all that one delivery of a target runs may take, with a wait
// for another process that does the same. Requests have limits of their own.
func Longest(t Target) time.Duration {
	return lockWait + limit(t.CheckTimeout) + 2*limit(t.ExecTimeout)
}

// limit is how long a command with this time limit may run.
func limit(d time.Duration) time.Duration {
	if d <= 0 {
		return command.DefaultTimeout
	}
	return d
}

// keep handles a file whose bytes are right: mode, owner and exec may not be.
func (tx *transaction) keep(ctx context.Context, c claim) error {
	tx.describe(c.sha, c.manifest, tx.disk.size, tx.disk.lines)
	if err := gate.LongEnough(tx.target.Key, tx.disk.size, tx.result.Lines, tx.target.MinLines); err != nil {
		return err
	}
	attrs := tx.disk.wanted(tx.target)
	drifted := tx.disk.drifted(attrs)
	adopted := !tx.state.found
	owed := len(tx.target.Exec) > 0 && !adopted && tx.state.owed(c.sha)
	if tx.target.DryRun {
		tx.result.Action = dryKeep(drifted, owed)
		return nil
	}
	tx.result.Action = Unchanged
	now := markOf(tx.target.name(), c.sha, c.manifest)
	stale := gate.Older(tx.state.Installed.Lineage, tx.state.Installed.Version, c.manifest)
	news := adopted || (tx.state.Installed != now && !stale)
	run := owed && !tx.target.DeferExec
	if drifted || news || owed {
		if err := tx.hold(ctx); err != nil {
			tx.result.Action = NoAction
			return err
		}
	} else {
		tx.tidy(ctx)
	}
	if drifted {
		if err := tx.correct(ctx, attrs); err != nil {
			tx.result.Action = NoAction
			return err
		}
		tx.result.Action = Repaired
	}
	tx.remember(c.sha)
	if adopted {
		tx.state.ran(c.sha)
	}
	if news {
		if tx.state.Installed.SHA256 != c.sha {
			// Put in place by a run that was cut off, before it was durable?
			if err := tx.file.Sync(); err != nil {
				return err
			}
		}
		if err := tx.state.finish(now); err != nil {
			return err
		}
	}
	if tx.result.ExecPending = owed; !run {
		return nil
	}
	if tx.result.Action == Unchanged {
		tx.result.Action = ExecRan
	}
	tx.result.note("the exec is owed for what is in place, and runs now")
	ctx, done := tx.interruptible(ctx)
	defer done()
	return tx.exec(ctx, now, nil)
}

// correct sets owner and mode. A file with other hard links is replaced by a new one, as
// they are not ours to change.
func (tx *transaction) correct(ctx context.Context, attrs atomicfile.Attrs) error {
	linked, err := tx.file.Linked()
	if err != nil {
		return err
	}
	if !linked {
		return tx.file.SetAttrs(attrs)
	}
	if tx.target.InPlace {
		return fmt.Errorf("correct owner and mode of %s: %w", tx.path, atomicfile.ErrLinks)
	}
	if err := tx.share.need(ctx, tx.disk.size); err != nil {
		return err
	}
	now, err := look(tx.file, true)
	if err != nil {
		return err
	}
	staged, err := tx.file.Stage(now.content, attrs)
	if err != nil {
		return err
	}
	return errors.Join(tx.file.Replace(staged), staged.Discard())
}

func dryKeep(drifted, owed bool) Action {
	switch {
	case drifted:
		return WouldRepair
	case owed:
		return WouldExec
	}
	return Unchanged
}

// replace handles a file whose bytes are not right, or not known to be.
func (tx *transaction) replace(ctx context.Context, c claim) error {
	if tx.target.keepsOld() && tx.share != nil {
		tx.share.old = tx.disk.size
	}
	standing, err := tx.content(ctx, c)
	if err != nil {
		return err
	}
	if tx.disk.exists && tx.target.keepsOld() {
		if tx.disk, err = look(tx.file, true); err != nil {
			return err
		}
		tx.result.Old = tx.disk.content
	}
	if tx.goesBack(standing) {
		if standing, err = tx.confirm(ctx); err != nil {
			return err
		}
	}
	manifest := standing.Own()
	tx.describe(standing.SHA256, manifest, len(standing.Plain), record.Lines(standing.Plain))
	if tx.target.Diff {
		tx.result.New = standing.Plain
	}
	if standing.SHA256 == tx.disk.sha { // raw, or changed while we looked
		return tx.keep(ctx, claim{sha: standing.SHA256, manifest: manifest})
	}
	if was := tx.state.Installed; manifest != nil && was.Lineage != "" && was.Key == tx.target.name() &&
		was.Lineage != manifest.Lineage {
		tx.result.note("%s was made anew in the store: %s follows %s of another lineage", tx.target.name(),
			markOf("", "", manifest).describe(), was.describe())
	}
	if tx.target.DryRun {
		tx.result.Action = WouldInstall
		return nil
	}
	if tx.target.Postpone != nil && tx.target.Postpone(standing.SHA256) {
		tx.result.Action = Postponed
		return nil
	}
	return tx.install(ctx, standing.Plain, markOf(tx.target.name(), standing.SHA256, manifest))
}

// content is what stands in the store, with its bytes.
func (tx *transaction) content(ctx context.Context, c claim) (record.Live, error) {
	if c.live != nil {
		return *c.live, nil
	}
	if s, ok := tx.seen(ctx, c); ok {
		return s, s.Installable(tx.target.MinLines)
	}
	if err := tx.Fault.before(AtReadData); err != nil {
		return record.Live{}, err
	}
	return tx.full(ctx, kv.Default)
}

func (tx *transaction) goesBack(s record.Live) bool {
	was := tx.state.Installed
	return was.Key == tx.target.name() && gate.Older(was.Lineage, was.Version, s.Own())
}

// confirm asks the leader whether the store really went back. What it says is
// installed; if it cannot say, the file is kept.
func (tx *transaction) confirm(ctx context.Context) (record.Live, error) {
	was := tx.state.Installed
	standing, err := tx.full(ctx, kv.Consistent)
	if err != nil {
		return standing, fmt.Errorf("%s looks older than %s, which is in place, and that could not be confirmed: %w",
			tx.target.name(), was.describe(), err)
	}
	if !tx.goesBack(standing) {
		return standing, nil
	}
	if tx.target.RefuseOlder {
		return standing, &gate.Refusal{
			Reason: gate.WentBack, Key: tx.target.Key,
			Detail: fmt.Sprintf("the store went back from version %d to %d, and this target refuses older ones", was.Version,
				standing.Manifest.Version),
			Remedy: gate.Again(tx.target.Key) + ", or drop refuse_older; the file is left as it is",
		}
	}
	tx.result.note("the store went back from %d to %d: %s follows it", was.Version, standing.Manifest.Version, tx.target.File)
	return standing, nil
}

func (tx *transaction) describe(sha string, m *kv.Manifest, size, lines int) {
	tx.result.SHA256, tx.result.Size, tx.result.Lines = sha, size, lines
	if m != nil {
		tx.result.Lineage, tx.result.Version, tx.result.Fleet = m.Lineage, m.Version, m.Nodes
	}
}
