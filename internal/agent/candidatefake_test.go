package agent

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"kvexpress/internal/embedded"
	"kvexpress/internal/kv"
	"kvexpress/internal/publish"
	"kvexpress/internal/record"
	"kvexpress/internal/rollout"
	"kvexpress/internal/wire"
)

// candidateOf makes a candidate of a key: the version that a publish would make.
func (s *site) candidateOf(key kv.Key, id, content string) offered {
	s.t.Helper()
	ctx, twin := context.Background(), embedded.New()
	now, err := s.store.Store.Read(ctx, kv.Default, s.layout.Rows(key)...)
	if err != nil {
		s.t.Fatal(err)
	}
	var ops []kv.Op
	for path, e := range now {
		if e.State == kv.Present {
			ops = append(ops, kv.Op{Verb: kv.Set, Path: path, Value: e.Value, Flags: e.Flags})
		}
	}
	_, err = twin.Commit(ctx, ops)
	live, _, failed := record.Read(ctx, twin, s.layout, key, record.Query{})
	if err := errors.Join(err, failed); err != nil {
		s.t.Fatal(err)
	}
	p := &publish.Publisher{Store: twin, Layout: s.layout, By: "test"}
	if _, err := p.Publish(ctx, publish.Request{Key: key, Content: []byte(content)}); err != nil {
		s.t.Fatal(err)
	}
	o := offered{Offer: rollout.Offer{ID: id}, rows: map[string]kv.Entry{}}
	o.Base.SHA256, o.Base.Version = live.SHA256, live.Manifest.Version
	rows, err := twin.Read(ctx, kv.Default, s.layout.Rows(key)...)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, name := range []string{"data", "checksum", "manifest"} {
		o.rows[name] = rows[s.layout.Dir(key)+name]
	}
	return o
}

// row writes the row of a rollout of k0.
func (s *site) row(id, content string, state rollout.State) {
	s.t.Helper()
	row := rollout.Row{ID: id, Key: "k0", Version: 2, SHA256: record.Checksum([]byte(content)), State: state,
		Plan: rollout.Plan{Stages: []rollout.Stage{{Count: 1}}}}
	b, err := row.Marshal()
	if err != nil {
		s.t.Fatal(err)
	}
	s.set(s.layout.Rollout("k0"), string(b))
}

// offer pushes a candidate to all agents.
func (h *fakeHub) offer(key kv.Key, id, content string) {
	o := h.site.candidateOf(key, id, content)
	h.mu.Lock()
	h.offers = map[kv.Key]offered{key: o}
	h.mu.Unlock()
	h.push(key)
}

// withdraw pushes the current version again.
func (h *fakeHub) withdraw(key kv.Key) {
	h.mu.Lock()
	delete(h.offers, key)
	h.mu.Unlock()
	h.push(key)
}

// promote makes the candidate the current version.
func (h *fakeHub) promote(key kv.Key) {
	h.mu.Lock()
	rows := h.offers[key].rows
	h.mu.Unlock()
	for name, e := range rows {
		op := kv.Op{Verb: kv.Set, Path: h.site.layout.Dir(key) + name, Value: e.Value, Flags: e.Flags}
		if _, err := h.site.store.Commit(context.Background(), []kv.Op{op}); err != nil {
			h.site.t.Fatal(err)
		}
	}
	h.withdraw(key)
}

// said is the health reports that the hub got since the last call.
func (h *fakeHub) said() (all []wire.Health) {
	h.mu.Lock()
	defer h.mu.Unlock()
	all, h.healths = h.healths, nil
	return all
}

// says expects the last report, and returns it.
func (h *fakeHub) says(state rollout.HealthState) (last wire.Health) {
	h.site.t.Helper()
	synctest.Wait()
	all := h.said()
	if len(all) > 0 {
		last = all[len(all)-1]
	}
	if last.State != string(state) {
		h.site.t.Errorf("it says %+v, want %s at last", all, state)
	}
	return last
}

// command is a shell script for a target; $0 is a file that it may write to.
func (s *site) command(script string) []string {
	return []string{"sh", "-c", script, filepath.Join(s.dir, "log")}
}

// ran is the lines that commands wrote.
func (s *site) ran() []string {
	b, err := os.ReadFile(filepath.Join(s.dir, "log"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		s.t.Fatal(err)
	}
	return strings.Fields(string(b))
}

// mark makes a file that commands look for.
func (s *site) mark(name string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), nil, 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// rolloutTest is a site with targets for one key each, which has run for a minute. Their execs log the version.
func rolloutTest(t *testing.T, targets int, prepare func(*site), test func(*testing.T, *site, *fakeHub)) {
	t.Helper()
	hubTest(t, targets, []string{"a:1"}, func(t *testing.T, s *site, hubs map[string]*fakeHub) {
		for i := range s.config.Targets {
			c := &s.config.Targets[i]
			c.Exec, c.ExecTimeout, c.CheckTimeout = s.command(`echo v$KVEXPRESS_VERSION >>"$0"`), time.Minute, time.Minute
			c.RestoreOnFailure = true // an exec of its own
			c.ProbeTimeout = 10 * time.Second
		}
		s.config.Output = true
		if prepare != nil {
			prepare(s)
		}
		s.begin()
		pass(time.Minute)
		if err := os.RemoveAll(filepath.Join(s.dir, "log")); err != nil {
			t.Fatal(err)
		}
		test(t, s, hubs["a:1"])
	})
}
