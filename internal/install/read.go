package install

import (
	"context"
	"fmt"
	"time"

	"kvexpress/internal/gate"
	"kvexpress/internal/kv"
	"kvexpress/internal/record"
	"kvexpress/internal/wait"
)

// reader reads the rows of one target.
type reader struct {
	store  kv.Reader
	layout kv.Layout
	target Target
	locks  []string // paths of the locks of the target, under each of its names
	hook   FaultHook
	now    func() time.Time
	share  *Share
}

// frozen gates what was read by lock and stop.
func (r reader) frozen(s kv.Snapshot) error {
	var locks []kv.Entry
	for _, path := range r.locks {
		locks = append(locks, s[path])
	}
	if err := gate.NotLocked(r.target.File, r.now(), locks...); err != nil {
		return err
	}
	if r.target.Raw != "" || r.target.IgnoreStop {
		return nil
	}
	stop := s[r.layout.Stop(r.target.Key)]
	if err := gate.Readable(r.target.Key, stop); err != nil {
		return err
	}
	return gate.NotStopped(r.target.Key, stop)
}

// gates reads lock and stop alone, and gates them.
func (r reader) gates(ctx context.Context) error {
	if err := r.hook.before(AtReadAgain); err != nil {
		return err
	}
	paths := r.locks
	if r.target.Raw == "" {
		paths = append([]string{r.layout.Stop(r.target.Key)}, r.locks...)
	}
	s, err := r.store.Read(ctx, kv.Default, paths...)
	if err != nil {
		return err
	}
	return r.frozen(s)
}

// claim is what the small rows promise.
type claim struct {
	sha      string // "" if only the data can tell
	manifest *kv.Manifest
	index    uint64         // of the checksum
	standing *gate.Standing // of a raw path, which has nothing but the data
}

// meanwhile asks the store, and has something else done until the answer is there.
// An error of that comes first. (The request is made here, and not in the new
// goroutine, because its stack would have to grow for it each time.)
func meanwhile[T any](ctx context.Context, ask func(context.Context) (T, error), other func() error) (T, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { // ends before we return
		err := other()
		if err != nil {
			cancel()
		}
		done <- err
	}()
	value, err := ask(ctx)
	if failed := <-done; failed != nil {
		var none T
		return none, failed
	}
	return value, err
}

// small reads everything but the data. The answer is often enough: the file is
// current, or frozen.
func (r reader) small(ctx context.Context) (claim, error) {
	if r.target.Raw != "" {
		s, err := r.full(ctx, kv.Default)
		return claim{sha: s.SHA256, standing: &s}, err
	}
	k, l := r.target.Key, r.layout
	s, err := r.store.Read(ctx, kv.Default, append([]string{l.Checksum(k), l.Manifest(k), l.Stop(k)}, r.locks...)...)
	if err != nil {
		return claim{}, err
	}
	if err := r.frozen(s); err != nil {
		return claim{}, err
	}
	checksum, manifest := s[l.Checksum(k)], s[l.Manifest(k)]
	if err := gate.Readable(k, checksum, manifest); err != nil {
		return claim{}, err
	}
	sha, m, err := gate.Claimed(k, checksum, manifest)
	return claim{sha: sha, manifest: m, index: checksum.Index}, err
}

// full reads everything, with the data, and gates it. Lock and stop are of the
// same moment as the data.
func (r reader) full(ctx context.Context, c kv.Consistency) (gate.Standing, error) {
	var standing gate.Standing
	err := wait.Again(ctx, nil, gate.TornWaits(), func() (torn bool, err error) {
		standing, err = r.fullOnce(ctx, c)
		return standing.Torn, err
	})
	if err != nil {
		return standing, err
	}
	return standing, gate.Deliverable(kv.Key(r.target.name()), standing, r.target.MinLines)
}

func (r reader) fullOnce(ctx context.Context, c kv.Consistency) (gate.Standing, error) {
	if r.target.Raw != "" {
		return r.raw(ctx, c)
	}
	k, l := r.target.Key, r.layout
	paths := append([]string{l.Data(k), l.Checksum(k), l.Manifest(k), l.Stop(k)}, r.locks...)
	s, err := r.store.Read(ctx, c, paths...)
	if err != nil {
		return gate.Standing{}, err
	}
	if err := r.frozen(s); err != nil {
		return gate.Standing{}, err
	}
	data, checksum, manifest := s[l.Data(k)], s[l.Checksum(k)], s[l.Manifest(k)]
	if err := gate.Readable(k, data, checksum, manifest); err != nil {
		return gate.Standing{}, err
	}
	if err := r.share.need(ctx, gate.MostPlain(k, data, checksum, manifest)); err != nil {
		return gate.Standing{}, err
	}
	return gate.Examine(k, data, checksum, manifest)
}

// raw reads any value. It is taken as it is: there is nothing to verify it by.
func (r reader) raw(ctx context.Context, c kv.Consistency) (gate.Standing, error) {
	s, err := r.store.Read(ctx, c, append([]string{r.target.Raw}, r.locks...)...)
	if err != nil {
		return gate.Standing{}, err
	}
	if err := r.frozen(s); err != nil {
		return gate.Standing{}, err
	}
	switch e := s[r.target.Raw]; e.State {
	case kv.Present:
		return gate.Standing{State: gate.Unmanaged, Plain: e.Value, SHA256: record.Checksum(e.Value)}, nil
	case kv.Absent:
		return gate.Standing{}, &gate.Missing{Name: r.target.Raw, Raw: true}
	default:
		return gate.Standing{}, fmt.Errorf("%s may not be read: %w", kv.Quote(r.target.Raw), kv.ErrDenied)
	}
}
