package deliver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"kvexpress/internal/atomicfile"
	"kvexpress/internal/codec"
	"kvexpress/internal/command"
	"kvexpress/internal/gate"
	"kvexpress/internal/kv"
)

// lockWait is how long we wait for another process that works on the same
// target, beyond the time that its check and exec may take.
const lockWait = 30 * time.Second

// Deliverer installs targets. It is safe for concurrent use.
type Deliverer struct {
	Store    kv.Reader
	Layout   kv.Layout
	Host     string // the operating system's host name: locks go by it
	StateDir string // absolute; see DefaultStateDir
	// Interruptible returns a context that ends with a signal. It is called once
	// there is something to do: until then a signal may end the program where it
	// is, and setting signals up is a tenth of a run with nothing to do. nil: the
	// context of Deliver is taken as it is.
	Interruptible func(context.Context) (context.Context, context.CancelFunc)
	Hook          Hook // nil but in tests

	// swept are the targets whose folder was looked at for staged files of runs
	// before us: once is enough for a process.
	swept sync.Map
	// known is what is in place at each path, see glance.
	known sync.Map
}

func (d *Deliverer) interruptible(ctx context.Context) (context.Context, context.CancelFunc) {
	if d.Interruptible == nil {
		return ctx, func() {}
	}
	return d.Interruptible(ctx)
}

// Deliver makes the target's file what the store says, and runs what goes with it.
//
// The error is a *gate.Locked or *gate.Stopped (frozen: deliberate), a *gate.Missing,
// a *gate.Refusal, an *ExecError, a *StateError, or wraps one of kv's sentinels
// or of atomicfile's. The result is valid beside an error: its Outcome tells
// whether the file was touched.
func (d *Deliverer) Deliver(ctx context.Context, t Target) (Result, error) {
	return d.DeliverSeen(ctx, t, nil, nil)
}

// DeliverSeen is Deliver for a caller who has the data of the key already, as it is
// stored, from a watch perhaps. It need not be current: it spares a request if it
// is. The share is what the delivery holds of Limits.
func (d *Deliverer) DeliverSeen(ctx context.Context, t Target, data []byte, share *Share) (Result, error) {
	path, err := atomicfile.Resolve(t.File)
	if err != nil {
		return Result{}, err
	}
	tx := d.transaction(t, path)
	tx.data, tx.share = data, share
	if ready, index, err := d.folder(ctx, tx.reader, filepath.Dir(path)); err != nil || !ready {
		tx.result.Index = index
		tx.result.Outcome, tx.result.Held = dryOutcome(err), tx.heldBy(err)
		return tx.result, err
	}
	err = tx.run(ctx)
	tx.result.Held = tx.heldBy(err)
	return tx.result, err
}

// transaction sets up one for a target whose file is at path.
func (d *Deliverer) transaction(t Target, path string) *transaction {
	r := reader{store: d.Store, layout: d.Layout, target: t, hook: d.Hook, now: time.Now}
	r.locks = []string{d.Layout.Lock(t.File, d.Host)}
	if path != t.File {
		r.locks = append(r.locks, d.Layout.Lock(path, d.Host))
	}
	return &transaction{
		Deliverer: d, reader: r, path: path, watch: stopwatch{time.Now()},
		result: Result{Key: t.name(), File: t.File, Path: path},
	}
}

func dryOutcome(err error) Outcome {
	if err != nil {
		return None
	}
	return WouldInstall
}

// folder makes the target's folder if it is missing and something is to be put
// there. It is false in a dry run without one. The index is that of the checksum that was read for that.
func (d *Deliverer) folder(ctx context.Context, r reader, dir string) (ready bool, index uint64, err error) {
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return true, 0, nil // OpenDir tells what is wrong with it
	}
	standing, err := r.full(ctx, kv.Default)
	if err != nil || r.target.DryRun {
		return false, standing.Index, err
	}
	return true, standing.Index, atomicfile.MakeDirs(dir, d.Hook.files())
}

// transaction is one run over one target, from lock to exec.
type transaction struct {
	*Deliverer
	reader
	path   string
	data   []byte // of the key, as stored, if the caller had it; of any age
	result Result

	dir   *atomicfile.Dir
	file  *atomicfile.Target
	disk  onDisk
	state *stateFile
	torn  *pending // an overwrite that was cut off
	watch stopwatch
	share *Share
}

func (tx *transaction) run(ctx context.Context) (err error) {
	if tx.dir, err = atomicfile.OpenDir(filepath.Dir(tx.path), tx.Hook.files()); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tx.dir.Close()) }()
	if err := tx.lock(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tx.state.close(), tx.file.Close()) }()
	if err := tx.Hook.before(StepRead); err != nil {
		return err
	}
	tx.watch.lap(&tx.result.Took.Wait)
	claim, err := meanwhile(ctx, tx.small, tx.look)
	tx.watch.lap(&tx.result.Took.Read)
	tx.result.Index = claim.index
	if tx.torn != nil {
		err = errors.Join(err, tx.mend(ctx, err))
	}
	if err != nil {
		return err
	}
	if claim.sha == tx.disk.sha && tx.disk.unread {
		if tx.disk, err = look(tx.file, tx.target.keepsOld()); err != nil {
			return err
		}
	}
	if claim.sha != "" && claim.sha == tx.disk.sha {
		_, same := tx.seen(claim)
		tx.result.Apart = tx.data != nil && !same
		return tx.keep(ctx, claim)
	}
	ctx, done := tx.interruptible(ctx)
	defer done()
	return tx.replace(ctx, claim)
}

// look finds out what is on disk, and what a run before us left behind.
func (tx *transaction) look() (err error) {
	if tx.disk, err = tx.glance(); err != nil {
		return err
	}
	tx.result.Before, tx.result.Old, tx.result.Looked = tx.disk.sha, tx.disk.content, true
	return tx.recover()
}

func (tx *transaction) lock(ctx context.Context) (err error) {
	if err := tx.Hook.before(StepLock); err != nil {
		return err
	}
	waiting, cancel := context.WithTimeout(ctx, Longest(tx.target))
	defer cancel()
	tx.share.keep(0)
	if tx.file, err = tx.dir.Lock(waiting, filepath.Base(tx.path)); err != nil {
		return err
	}
	if err := tx.share.enter(ctx); err != nil {
		return errors.Join(err, tx.file.Close())
	}
	return nil
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
		tx.result.Outcome = dryKeep(drifted, owed)
		return nil
	}
	tx.result.Outcome = Unchanged
	tx.remember(c.sha)
	if drifted {
		if err := tx.file.SetAttrs(attrs); err != nil {
			tx.result.Outcome = None
			return err
		}
		tx.result.Outcome = Repaired
	}
	if adopted {
		tx.state.ran(c.sha)
	}
	now := markOf(tx.target.name(), c.sha, c.manifest)
	stale := gate.Older(tx.state.Installed.Lineage, tx.state.Installed.Version, c.manifest)
	if adopted || (tx.state.Installed != now && !stale) {
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
	if tx.result.Owed = owed; !owed || tx.target.DeferExec {
		return nil
	}
	if tx.result.Outcome == Unchanged {
		tx.result.Outcome = ExecOnly
	}
	tx.result.note("the exec is owed for what is in place, and runs now")
	ctx, done := tx.interruptible(ctx)
	defer done()
	return tx.exec(ctx, now, nil)
}

func dryKeep(drifted, owed bool) Outcome {
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
	standing, err := tx.content(ctx, c)
	tx.watch.lap(&tx.result.Took.Content)
	if err != nil {
		return err
	}
	if tx.goesBack(standing) {
		if standing, err = tx.confirm(ctx); err != nil {
			return err
		}
	}
	manifest := currentManifest(standing)
	tx.describe(standing.SHA256, manifest, len(standing.Plain), codec.Lines(standing.Plain))
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
		tx.result.Outcome = WouldInstall
		return nil
	}
	if tx.target.Postpone != nil && tx.target.Postpone(standing.SHA256) {
		tx.result.Outcome = Postponed
		return nil
	}
	return tx.install(ctx, standing.Plain, markOf(tx.target.name(), standing.SHA256, manifest))
}

// content is what stands in the store, with its bytes.
func (tx *transaction) content(ctx context.Context, c claim) (gate.Standing, error) {
	if s, ok := tx.seen(c); ok {
		return s, gate.Deliverable(tx.target.Key, s, tx.target.MinLines)
	}
	if err := tx.Hook.before(StepReadData); err != nil {
		return gate.Standing{}, err
	}
	return tx.full(ctx, kv.Default)
}

// currentManifest is the manifest, if it speaks of the bytes that stand.
func currentManifest(s gate.Standing) *kv.Manifest {
	if s.Manifest == nil || s.Manifest.SHA256 != s.SHA256 {
		return nil
	}
	return s.Manifest
}

func (tx *transaction) goesBack(s gate.Standing) bool {
	was := tx.state.Installed
	return was.Key == tx.target.name() && gate.Older(was.Lineage, was.Version, currentManifest(s))
}

// confirm asks the leader whether the store really went back. What it says is
// installed; if it cannot say, the file is kept.
func (tx *transaction) confirm(ctx context.Context) (gate.Standing, error) {
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
			Remedy: "publish it again with `kvexpress in`, or drop refuse_older; the file is left as it is",
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
