package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"kvexpress/internal/kv"
	"kvexpress/internal/outcome"
	"kvexpress/internal/wire"
)

// paths are the rows that an install of a target reads.
func (s *site) paths(i int, more ...string) []string {
	t := s.config.Targets[i]
	l := s.layout
	return append([]string{l.Checksum(t.Key), l.Manifest(t.Key), l.Stop(t.Key), l.Lock(t.File, "web-17")}, more...)
}

// read reads as an install does, and returns how long it took.
func (s *site) read(c kv.Consistency, paths []string) (kv.Snapshot, time.Duration, error) {
	began := time.Now()
	rows, err := s.agent.hubs.Read(s.t.Context(), c, paths...)
	return rows, time.Since(began), err
}

// A decision uses rows of the last two seconds. Of older ones the hub is asked, and else the store.
func TestHubReads(t *testing.T) {
	t.Parallel()
	hubTest(t, 1, []string{"a:1"}, func(t *testing.T, s *site, hubs map[string]*fakeHub) {
		s.begin()
		pass(time.Minute)
		a := hubs["a:1"]
		a.push("k0")
		const drifted = 100 * time.Millisecond // at most, in a minute
		pass(wire.Fresh - drifted)
		expect := func(what string, c kv.Consistency, paths []string, questions int, requests uint64, took time.Duration, kind error) kv.Snapshot {
			t.Helper()
			asked, asks := a.asked(), s.agent.Status().Requests
			rows, took2, err := s.read(c, paths)
			if !errors.Is(err, kind) || a.asked()-asked != questions || s.agent.Status().Requests-asks != requests || took2 != took {
				t.Errorf("%s: %v, %d questions, %d requests, %s", what, err, a.asked()-asked, s.agent.Status().Requests-asks, took2)
			}
			return rows
		}
		data := s.paths(0, s.layout.Data("k0"))
		expect("a row of the last two seconds", kv.Default, s.paths(0), 0, 0, 0, nil)
		pass(drifted + time.Millisecond)
		expect("an older row", kv.Default, s.paths(0), 1, 0, 0, nil)
		expect("once more", kv.Default, s.paths(0), 0, 0, 0, nil)
		if rows := expect("data", kv.Default, data, 1, 0, 0, nil); string(rows[s.layout.Data("k0")].Value) != "one\n" || !a.last().Data {
			t.Errorf("data is %+v", rows)
		}
		if expect("consistent", kv.Consistent, s.paths(0), 1, 0, 0, nil); !a.last().Consistent {
			t.Error("it is not consistent")
		}
		expect("a value that is no key", kv.Default, []string{"other/value"}, 0, 1, 0, nil)

		a.push("k0")
		a.mute.Store(true)
		expect("the store, since the hub hangs", kv.Consistent, s.paths(0), 1, 1, confirmTime, nil)
		a.mute.Store(false)
		expect("a row from before the store answered", kv.Default, s.paths(0), 1, 0, 0, nil)
		a.failing.Store(&wire.Failed{Reason: wire.Denied, Says: "no policy"})
		expect("denied", kv.Default, data, 1, 0, 0, kv.ErrDenied)
		a.failing.Store(&wire.Failed{Reason: wire.Unreachable, Says: "no leader"})
		expect("a hub without a store", kv.Default, data, 1, 1, 0, nil)
		a.mute.Store(true)
		expect("a hub that hangs", kv.Default, data, 1, 1, confirmTime, nil)
		s.agent.hubs.config.Direct = false
		expect("a hub that hangs, and no store", kv.Default, data, 1, 0, confirmTime, kv.ErrUnreachable)
		expect("a value that is no key, and no store", kv.Default, []string{"other/value"}, 0, 0, 0, kv.ErrUnreachable)
	})
}

// The answer to a beat tells the hub's clock from the moment of that beat, however late it comes.
func TestHubClock(t *testing.T) {
	t.Parallel()
	hubTest(t, 1, []string{"a:1"}, func(t *testing.T, s *site, hubs map[string]*fakeHub) {
		s.begin()
		pass(time.Second)
		link, session := hubs["a:1"].link(t), s.session()
		link.agent.hold()
		pass(2*wire.BeatEvery + time.Second) // two answers wait
		read, began := link.clock(), time.Now()
		pass(wire.BeatEvery / 2)
		link.agent.release(1)
		pass(5 * time.Second) // another beat
		link.agent.release(1)
		pass(time.Second)
		s.agent.hubs.mu.Lock()
		defer s.agent.hubs.mu.Unlock()
		if at := session.clocks.at(read, time.Now()); at.After(began) || began.Sub(at) > 50*time.Millisecond {
			t.Errorf("a snapshot from %s is dated %s later", began, at.Sub(began))
		}
	})
}

// A link that leads elsewhere now has other locks: the agent tells the hub of them before it asks.
func TestHubNewLock(t *testing.T) {
	t.Parallel()
	hubTest(t, 1, []string{"a:1"}, func(t *testing.T, s *site, hubs map[string]*fakeHub) {
		s.begin()
		pass(time.Minute)
		real, file := filepath.Join(s.dir, "real"), s.config.Targets[0].File
		if err := errors.Join(os.Rename(file, real), os.Symlink(real, file)); err != nil {
			t.Fatal(err)
		}
		lockReal := func() (row string) {
			s.config.Targets[0].File = real
			s.lock(0, "maintenance")
			s.config.Targets[0].File = file
			return s.layout.Lock(real, "web-17")
		}
		lock := lockReal()
		rows, _, err := s.read(kv.Default, s.paths(0, lock))
		hellos, dials := hubs["a:1"].greeted()
		if err != nil || rows[lock].Reason() != "maintenance" || len(hellos) != 2 || dials != 1 || s.agent.Status().Requests != 0 {
			t.Errorf("%+v, %v; %d hellos, %d connections", rows[lock], err, len(hellos), dials)
		}
		// Once more in the same second: the hello has to wait, so the store is asked.
		other := filepath.Join(s.dir, "other")
		if err := errors.Join(os.Rename(real, other), os.Remove(file), os.Symlink(other, file)); err != nil {
			t.Fatal(err)
		}
		real = other
		lock = lockReal()
		rows, _, err = s.read(kv.Default, s.paths(0, lock))
		if err != nil || rows[lock].Reason() != "maintenance" || s.agent.Status().Requests == 0 {
			t.Errorf("%+v, %v; %d requests", rows[lock], err, s.agent.Status().Requests)
		}
	})
}

// A hub that may not show a key says so. The file stays, also while the hub has no snapshot.
func TestHubDenied(t *testing.T) {
	t.Parallel()
	hubTest(t, 1, []string{"a:1"}, func(t *testing.T, s *site, hubs map[string]*fakeHub) {
		s.begin()
		pass(time.Minute)
		for reason, want := range map[wire.Reason]outcome.Outcome{
			wire.Denied: outcome.Denied, wire.Unreachable: outcome.Unreachable, "of a later version": outcome.Unreachable,
		} {
			hubs["a:1"].tell(wire.FromHub{Snapshot: &wire.Snapshot{Key: "k0", Reason: reason, Says: "for a reason"}})
			pass(time.Second)
			s.all(want, "one\n")
		}
		hubs["a:1"].push("k0")
		pass(time.Second)
		s.all(outcome.Converged, "one\n")
	})
}

// Of many changes while a target is busy, it gets the newest, and the data that an earlier one brought.
func TestHubNewestWins(t *testing.T) {
	t.Parallel()
	data := "kvexpress/k0/data"
	h := &hubSource{keys: map[kv.Key]*hubKey{}}
	u, _ := h.follow("k0", mustLayout(t), make(chan struct{}, 1)).(*hubSub)
	rows := func(names ...string) kv.Snapshot {
		all := kv.Snapshot{}
		for _, name := range names {
			all[name] = kv.Entry{State: kv.Present, Value: []byte(name)}
		}
		return all
	}
	u.push(Snapshot{Rows: rows(data, "first")})
	u.push(Snapshot{Rows: rows("second")})
	u.push(Snapshot{Rows: rows("third")})
	got := <-u.updates()
	if string(got.Rows[data].Value) != data || got.Rows["third"].State != kv.Present || len(got.Rows) != 2 {
		t.Errorf("got %+v", got)
	}
	select {
	case more := <-u.updates():
		t.Errorf("and %+v", more)
	default:
	}
}

// A node holds little data that hubs have pushed, and gives it back.
func TestHubBroughtData(t *testing.T) {
	t.Parallel()
	h := &hubSource{keys: map[kv.Key]*hubKey{}}
	var subs []*hubSub
	with := 0
	for i := range 20 {
		u, _ := h.follow(kv.Key(fmt.Sprint("k", i)), mustLayout(t), make(chan struct{}, 1)).(*hubSub)
		for range 3 { // the last of three counts
			u.push(Snapshot{Rows: kv.Snapshot{u.data: {State: kv.Present, Value: make([]byte, kv.MaxValue)}, "stop": {State: kv.Absent}}})
		}
		subs = append(subs, u)
	}
	for i, u := range subs {
		got := <-u.updates()
		if len(got.Rows[u.data].Value) > 0 {
			with++
		}
		if got.Rows["stop"].State != kv.Absent {
			t.Errorf("the other rows of %d are missing", i)
		}
		if i%2 == 0 {
			u.next(t.Context(), &got, position{})
		}
		u.close()
	}
	if with != maxBrought/kv.MaxValue || h.brought != 0 {
		t.Errorf("%d of %d have data, %d bytes are left", with, len(subs), h.brought)
	}
}

func mustLayout(t *testing.T) kv.Layout {
	t.Helper()
	l, err := kv.NewLayout("kvexpress")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// A hub that could not confirm a snapshot once is asked again: it does not push the change a second time.
func TestHubSlowAnswer(t *testing.T) {
	t.Parallel()
	hubTest(t, 1, []string{"a:1"}, func(t *testing.T, s *site, hubs map[string]*fakeHub) {
		s.config.Hubs.Direct = false
		s.begin()
		pass(time.Minute)
		hub := hubs["a:1"]
		link := hub.link(t)
		link.agent.hold()
		s.send("k0", "two\n")
		hub.push("k0")
		pass(3 * time.Second)
		hub.failing.Store(&wire.Failed{Reason: wire.Unreachable, Says: "busy"})
		link.agent.release(-1)
		pass(time.Millisecond)
		if got := s.agent.Status().Targets[0].Outcome; got != outcome.Unreachable {
			t.Errorf("the outcome is %s", got)
		}
		s.holds(0, "one\n")
		hub.failing.Store(nil)
		pass(3 * time.Second)
		s.holds(0, "two\n")
		s.all(outcome.Converged, "two\n")
	})
}
