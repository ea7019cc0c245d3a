package install

import (
	"context"
	"fmt"
	"time"

	"kvexpress/internal/gate"
	"kvexpress/internal/kv"
	"kvexpress/internal/record"
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
	return gate.NotStopped(r.target.Key, s[r.layout.Stop(r.target.Key)])
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
	index    uint64       // of the checksum
	live     *record.Live // of a raw path, which has nothing but the data
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
		return claim{sha: s.SHA256, live: &s}, err
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
	sha, m, err := record.Claimed(k, checksum, manifest)
	return claim{sha: sha, manifest: m, index: checksum.Index}, err
}

// full reads everything, with the data, and gates it. Lock and stop are of the
// same moment as the data.
func (r reader) full(ctx context.Context, c kv.Consistency) (live record.Live, err error) {
	if r.target.Raw != "" {
		live, err = r.raw(ctx, c)
	} else {
		live, _, err = record.Read(ctx, r.store, r.layout, r.target.Key, record.Query{Consistency: c, Also: r.locks, Accept: r.accept(ctx)})
	}
	if err != nil {
		return live, err
	}
	return live, live.Installable(r.target.MinLines)
}

// accept refuses a frozen target, and waits for the memory that its content needs.
func (r reader) accept(ctx context.Context) func(kv.Snapshot) error {
	return func(s kv.Snapshot) error {
		if err := r.frozen(s); err != nil {
			return err
		}
		k, l := r.target.Key, r.layout
		data, checksum, manifest := s[l.Data(k)], s[l.Checksum(k)], s[l.Manifest(k)]
		return r.share.need(ctx, record.Memory(k, data, checksum, manifest))
	}
}

// raw reads any value. It is taken as it is: there is nothing to verify it by.
func (r reader) raw(ctx context.Context, c kv.Consistency) (record.Live, error) {
	s, err := r.store.Read(ctx, c, append([]string{r.target.Raw}, r.locks...)...)
	if err != nil {
		return record.Live{}, err
	}
	if err := r.frozen(s); err != nil {
		return record.Live{}, err
	}
	switch e := s[r.target.Raw]; e.State {
	case kv.Present:
		return record.Live{Key: kv.Key(r.target.Raw), State: record.Unmanaged, Plain: e.Value, SHA256: record.Checksum(e.Value)}, nil
	case kv.Absent:
		return record.Live{}, &gate.Missing{Name: r.target.Raw, Raw: true}
	default:
		return record.Live{}, fmt.Errorf("%s cannot be read: %w", kv.Quote(r.target.Raw), kv.ErrDenied)
	}
}
