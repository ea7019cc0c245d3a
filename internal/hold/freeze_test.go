package hold

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kvexpress/internal/atomicfile"
	"kvexpress/internal/embedded"
	"kvexpress/internal/kv"
)

func newFreezer(t *testing.T, store kv.Store) Freezer {
	t.Helper()
	l, err := kv.NewLayout("kvexpress")
	if err != nil {
		t.Fatal(err)
	}
	return Freezer{Recorder: Recorder{Store: store, Layout: l}, Host: "web-17", By: Event{Time: set}}
}

// set is when all stops and locks of these tests are set.
var set = time.Unix(1_700_000_000, 0).UTC()

func (f Freezer) row(t *testing.T, path string) kv.Entry {
	t.Helper()
	s, err := f.Store.Read(t.Context(), kv.Default, path)
	if err != nil {
		t.Fatal(err)
	}
	return s[path]
}

// A second lock has the time of the second.
func TestSetAgain(t *testing.T) {
	f := newFreezer(t, embedded.New())
	later := f
	later.By.Time = set.Add(time.Hour)
	for i, f := range []Freezer{f, later} {
		f.Replace = true
		if _, err := f.Stop(t.Context(), "hosts", fmt.Sprint("because ", i)); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Lock(t.Context(), "/f", "why", time.Time{}); err != nil {
			t.Fatal(err)
		}
		want := uint64(1_700_000_000+3600*i) << 32
		if stop, lock := f.row(t, "kvexpress/hosts/stop"), f.row(t, f.Layout.Lock("/f", "web-17")); stop.Flags != want ||
			lock.Flags != want {
			t.Errorf("the flags are %#x and %#x, want %#x", stop.Flags, lock.Flags, want)
		}
	}
}

// An end that the flags cannot hold would be none, or long over.
func TestEndsThatDoNotFit(t *testing.T) {
	f := newFreezer(t, embedded.New())
	for _, until := range []time.Time{kv.MaxFreeze().Add(time.Second), time.Unix(0, 0).UTC(), time.Unix(-5, 0)} {
		if _, err := f.Lock(t.Context(), "/f", "why", until); !errors.Is(err, ErrUntil) {
			t.Errorf("%v: %v", until, err)
		}
	}
	if got := f.row(t, f.Layout.Lock("/f", "web-17")); got.State != kv.Absent {
		t.Errorf("the row is %+v", got)
	}
}

func TestReasons(t *testing.T) {
	f := newFreezer(t, embedded.New())
	for _, reason := range []string{"", strings.Repeat("x", kv.MaxReason+1), "\xff"} {
		if _, err := f.Stop(t.Context(), "hosts", reason); !errors.Is(err, ErrReason) {
			t.Errorf("stop with %.10q: %v", reason, err)
		}
		if _, err := f.Lock(t.Context(), "/f", reason, time.Time{}); !errors.Is(err, ErrReason) {
			t.Errorf("lock with %.10q: %v", reason, err)
		}
	}
}

// The end of a stop changes the checksum's index, which wakes watches on it, and nothing
// else of the row; with what rights there are.
func TestResumeWakes(t *testing.T) {
	var deny string
	f := newFreezer(t, embedded.New(embedded.Deny(func(path string, write bool) bool { return write && path == deny })))
	checksum := f.Layout.Checksum("hosts")
	f.put(t, checksum, "sum", 3)
	for _, test := range []struct {
		name, deny, reason string
		asleep             bool
	}{{name: "stopped", reason: "why"}, {name: "not stopped"}, {name: "may not", deny: checksum, reason: "why", asleep: true}} {
		if test.reason != "" {
			if _, err := f.Stop(t.Context(), "hosts", test.reason); err != nil {
				t.Fatal(err)
			}
		}
		deny = test.deny
		before := f.row(t, checksum)
		was, asleep, err := f.Resume(t.Context(), "hosts", "")
		after := f.row(t, checksum)
		if err != nil || was != test.reason || asleep != test.asleep || string(after.Value) != "sum" || after.Flags != 3 ||
			(after.Index > before.Index) == test.asleep || f.row(t, f.Layout.Stop("hosts")).State != kv.Absent {
			t.Errorf("%s: %q, %t, %v; the row was %+v, is %+v", test.name, was, asleep, err, before, after)
		}
	}
}

// A stop that replaces the seen one, even just before the write, is not removed.
func TestOnlySeenIsRemoved(t *testing.T) {
	f := newFreezer(t, embedded.New())
	if _, err := f.Stop(t.Context(), "hosts", "seen"); err != nil {
		t.Fatal(err)
	}
	path, other := f.Layout.Stop("hosts"), errors.New("another stop")
	f.Seen = func(reason string) error {
		if reason != "seen" {
			return other
		}
		f.put(t, path, "new", 0)
		return nil
	}
	if was, _, err := f.Resume(t.Context(), "hosts", ""); !errors.Is(err, other) || was != "" {
		t.Errorf("%q %v", was, err)
	}
	if row := f.row(t, path); string(row.Value) != "new" {
		t.Errorf("the stop is %+v", row)
	}
}

// A denied row never means "was not stopped".
func TestDeniedIsNotLifted(t *testing.T) {
	f := newFreezer(t, embedded.New(embedded.Deny(func(_ string, write bool) bool { return !write })))
	if _, _, err := f.Resume(t.Context(), "hosts", ""); !errors.Is(err, kv.ErrDenied) {
		t.Errorf("resume: %v", err)
	}
	if _, err := f.Unlock(t.Context(), "/f"); !errors.Is(err, kv.ErrDenied) {
		t.Errorf("unlock: %v", err)
	}
}

// forgetful applies a commit, and once reports an unknown outcome.
type forgetful struct {
	kv.Store
	commits *int
}

func (s forgetful) Commit(ctx context.Context, ops []kv.Op) (map[string]uint64, error) {
	done, err := s.Store.Commit(ctx, ops)
	if *s.commits++; *s.commits == 1 && err == nil {
		return nil, &kv.StoreError{Op: "write", Kind: kv.ErrUnknownOutcome}
	}
	return done, err
}

func TestUnknownOutcomeIsRepeated(t *testing.T) {
	commits := 0
	f := newFreezer(t, forgetful{embedded.New(), &commits})
	if done, err := f.Stop(t.Context(), "hosts", "because"); err != nil || !done.Changed || commits != 1 {
		t.Errorf("after %d commits: %+v, %v", commits, done, err)
	}
}

func TestMarker(t *testing.T) {
	file := filepath.Join(t.TempDir(), "hosts")
	a := atomicfile.Attrs{Mode: 0o604, UID: -1, GID: -1}
	if err := WriteMarker(file, "why\r\nserver { \x1b[2J", time.Unix(2_000_000_000, 0).UTC(), a); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(Marker(file))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{file, "why", "2033-05-18T03:33:20Z", "kvexpress unlock -f " + file} {
		if !strings.Contains(string(b), want) {
			t.Errorf("it does not say %q:\n%s", want, b)
		}
	}
	for line := range strings.Lines(string(b)) { // a service that reads it reads comments
		if !strings.HasPrefix(line, "# ") || strings.ContainsAny(line, "\r\x1b") {
			t.Errorf("the line %q", line)
		}
	}
	if info, err := os.Stat(Marker(file)); err != nil || info.Mode() != 0o604 {
		t.Errorf("its mode is %v, %v", info.Mode(), err)
	}
	for range 2 { // the second time it is missing
		if err := RemoveMarker(file); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(Marker(file)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
}

// A link in the place of the marker leads to no other file.
func TestMarkerIsALink(t *testing.T) {
	file := filepath.Join(t.TempDir(), "hosts")
	other := filepath.Join(t.TempDir(), "other")
	for _, change := range []func() error{
		func() error {
			return WriteMarker(file, "why", time.Time{}, atomicfile.Attrs{Mode: 0o600, UID: -1, GID: -1})
		},
		func() error { return RemoveMarker(file) },
	} {
		_ = os.Remove(Marker(file))
		if err := errors.Join(os.WriteFile(other, []byte("other"), 0o600), os.Symlink(other, Marker(file)), change()); err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(other); string(b) != "other" {
			t.Errorf("the other file has %q, %v", b, err)
		}
	}
}

// Of many users who stop a key at once for different reasons, one succeeds, and the errors of the others name that user.
func TestStopsAtOnce(t *testing.T) {
	f := newFreezer(t, embedded.New())
	var done, refused atomic.Int32
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() {
			f := f
			f.By.Who = fmt.Sprint("user-", i)
			_, err := f.Stop(t.Context(), "hosts", fmt.Sprint("reason ", i))
			var stopped *StoppedError
			switch {
			case err == nil:
				done.Add(1)
			case errors.As(err, &stopped) && strings.HasPrefix(stopped.Who, "user-") && strings.Contains(err.Error(), stopped.Reason):
				refused.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	past, _ := ParseEvents(f.row(t, "kvexpress-events/hosts").Value)
	if done.Load() != 1 || refused.Load() != 9 || len(past) != 1 || past[0].Reason != string(f.row(t, "kvexpress/hosts/stop").Value) {
		t.Errorf("%d stopped it, %d were refused, events: %+v", done.Load(), refused.Load(), past)
	}
}
