package publish

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"kvexpress/internal/gate"
	"kvexpress/internal/kv"
	"kvexpress/internal/record"
	"kvexpress/internal/rollout"
)

func setPolicy(t *testing.T, p *Publisher, policy rollout.Policy) {
	t.Helper()
	b, err := policy.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	put(t, p.Store, p.Layout.Policy(hosts), string(b), 0)
}

func staged() rollout.Policy {
	return rollout.Policy{Plan: rollout.Plan{Stages: []rollout.Stage{{Count: 1}, {Count: 3}}}}
}

// canary is a publisher of a key with stages whose live version is "one".
func canary(t *testing.T) *Publisher {
	t.Helper()
	return canaryAt(t, "kvexpress")
}

func canaryAt(t *testing.T, prefix string) *Publisher {
	t.Helper()
	p := publisher(t, newStore())
	p.Layout = layout(t, prefix)
	do(t, p, "one\n")
	setPolicy(t, p, staged())
	return p
}

func begin(t *testing.T, p *Publisher, text string) Result {
	t.Helper()
	res := do(t, p, text)
	if res.Action != RollingOut {
		t.Fatalf("%s: %+v", text, res)
	}
	return res
}

func rowOf(t *testing.T, p *Publisher) *rollout.Row {
	t.Helper()
	row, err := rollout.ParseRow(hosts, get1(t, p.Store, p.Layout.Rollout(hosts)))
	if err != nil || row == nil {
		t.Fatalf("the rollout is %+v, %v", row, err)
	}
	return row
}

// setRow lets a controller change the row, as with a failure.
func setRow(t *testing.T, p *Publisher, change func(*rollout.Row)) {
	t.Helper()
	row := rowOf(t, p)
	change(row)
	b, err := row.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	put(t, p.Store, p.Layout.Rollout(hosts), string(b), 0)
}

// fail withdraws the candidate, as a controller does.
func fail(t *testing.T, p *Publisher) {
	t.Helper()
	setRow(t, p, func(r *rollout.Row) { r.State, r.Reason = rollout.Reverted, "n1 failed: probe" })
	row := rowOf(t, p)
	b, err := json.Marshal(rollout.Withdrawn{Rollout: row.ID, Reason: row.Reason})
	if err != nil {
		t.Fatal(err)
	}
	put(t, p.Store, p.Layout.HistoryWithdrawn(hosts, row.Version), string(b), 0)
}

func promote(t *testing.T, p *Publisher) error {
	t.Helper()
	row := *rowOf(t, p)
	next := row
	next.State, next.Counter = rollout.Promoted, row.Counter+1
	_, err := p.Promote(t.Context(), Promotion{Row: row, Index: get1(t, p.Store, p.Layout.Rollout(hosts)).Index, Next: next})
	return err
}

// With stages, a publish changes no live row. Promoted, the candidate is the version that any publish would have made.
func TestRollout(t *testing.T) {
	for name, content := range map[string][]byte{"small": []byte("two\n"), "largest": noise(kv.MaxStored, 1)} {
		t.Run(name, func(t *testing.T) {
			p := canary(t)
			before := liveRows(t, p)
			res, err := p.Publish(t.Context(), Request{Key: hosts, Content: content, Message: "why"})
			row := rowOf(t, p)
			if err != nil || res.Action != RollingOut || res.Version != 2 || res.Rollout != row.ID || res.Attempts != 1 {
				t.Fatalf("%+v, %v", res, err)
			}
			if liveRows(t, p) != before {
				t.Error("a live row changed")
			}
			if row.State != rollout.Running || row.Controller != "" || row.Version != 2 || row.SHA256 != res.SHA256 ||
				row.By != "ann@build" || len(row.Plan.Stages) != 2 || row.Base.Version != 1 || row.Base.SHA256 != record.Checksum([]byte("one\n")) {
				t.Errorf("the row is %+v", row)
			}
			l, err := record.History{Store: p.Store, Layout: p.Layout}.List(t.Context(), hosts)
			if err != nil || len(l.Kept()) != 1 {
				t.Errorf("a reader of history sees %v, %v", l.Kept(), err)
			}
			if err := promote(t, p); err != nil {
				t.Fatal(err)
			}
			mustBeLive(t, p.Store, p.Layout, hosts, res, content)
		})
	}
}

// At the limit of a transaction the candidate is written just before the row, or refused; it can always be promoted.
func TestRolloutAtTheLimit(t *testing.T) {
	before, refused := 0, 0
	for size := kv.MaxStored; size > kv.MaxStored-4096; size -= 128 {
		p := canaryAt(t, strings.Repeat("p", 120))
		policy := staged()
		for i := range 13 {
			policy.Stages = append(policy.Stages, rollout.Stage{Nodes: map[string]string{"a-long-name-of-a-label": fmt.Sprintf("value-%034d", i)}})
		}
		setPolicy(t, p, policy)
		begin(t, p, "two\n")
		wrote := false
		p.Fault = func(at Point) error { wrote = wrote || at == AtHistoryWrite; return nil }
		res, err := p.Publish(t.Context(), Request{Key: hosts, Content: noise(size, 1), Message: strings.Repeat("m", kv.MaxMessage)})
		if isA[*gate.Refusal](err) {
			refused++
			continue
		}
		if err != nil || res.Action != RollingOut {
			t.Fatalf("%d bytes: %+v, %v", size, res, err)
		}
		if wrote {
			before++
		}
		setRow(t, p, func(r *rollout.Row) {
			r.Reason, r.Controller = strings.Repeat("r", rollout.MaxWhy), strings.Repeat("c", 64)
		})
		s := &probe{Store: p.Store}
		p.Store = s
		if err := promote(t, p); err != nil || s.largest > kv.MaxTxnBody {
			t.Fatalf("%d bytes: %v, %d in the transaction", size, err, s.largest)
		}
	}
	if before == 0 || refused == 0 {
		t.Errorf("%d were written before, %d refused: nothing is proved", before, refused)
	}
}

// The first version of a key, and content of 1.x, can be rolled out, too.
func TestRolloutOverOthers(t *testing.T) {
	for name, tt := range map[string]struct {
		live    func(*testing.T, *Publisher)
		version uint64
		base    rollout.Base
	}{
		"no key": {func(*testing.T, *Publisher) {}, 1, rollout.Base{}},
		"1.x": {func(t *testing.T, p *Publisher) { oldWrite(t, p.Store, p.Layout, hosts, "theirs\n") }, 2,
			rollout.Base{SHA256: record.Checksum([]byte("theirs\n"))}},
		"1.x after us": {func(t *testing.T, p *Publisher) {
			do(t, p, "one\n")
			oldWrite(t, p.Store, p.Layout, hosts, "theirs\n")
		}, 3, rollout.Base{SHA256: record.Checksum([]byte("theirs\n"))}},
	} {
		t.Run(name, func(t *testing.T) {
			p := publisher(t, newStore())
			tt.live(t, p)
			setPolicy(t, p, staged())
			res := begin(t, p, "two\n")
			base := rowOf(t, p).Base
			if res.Version != tt.version || base.Version != tt.base.Version || base.SHA256 != tt.base.SHA256 {
				t.Errorf("version %d over %+v", res.Version, base)
			}
			if err := promote(t, p); err != nil {
				t.Fatal(err)
			}
			mustBeLive(t, p.Store, p.Layout, hosts, res, []byte("two\n"))
			if m := pastVersions(t, p.Store, p.Layout, hosts)[tt.version-1]; tt.base.SHA256 != "" && m.SHA256 != tt.base.SHA256 {
				t.Errorf("history has %+v before it", m)
			}
			setPolicy(t, p, rollout.Policy{})
			if next := do(t, p, "three\n"); next.Version != tt.version+1 || next.Previous != tt.version {
				t.Errorf("the next version is %d after %d", next.Version, next.Previous)
			}
		})
	}
}

// The content decides what a publish during a rollout does.
func TestPublishDuringRollout(t *testing.T) {
	t.Run("the candidate's content follows", func(t *testing.T) {
		p := canary(t)
		first := begin(t, p, "two\n")
		before := get1(t, p.Store, p.Layout.Rollout(hosts)).Index
		res := do(t, p, "two\n")
		if res.Action != Follows || res.Rollout != first.Rollout || res.Version != 2 || get1(t, p.Store, p.Layout.Rollout(hosts)).Index != before {
			t.Errorf("%+v", res)
		}
	})
	t.Run("the current content aborts", func(t *testing.T) {
		p := canary(t)
		begin(t, p, "two\n")
		res := do(t, p, "one\n")
		row := rowOf(t, p)
		if res.Action != AbortsRollout || row.State != rollout.Reverting || row.End != rollout.Aborted || row.Counter != 1 {
			t.Errorf("%+v, row %+v", res, row)
		}
		if res := do(t, p, "one\n"); res.Action != Unchanged {
			t.Errorf("again: %+v", res)
		}
	})
	t.Run("something newer supersedes", func(t *testing.T) {
		p := canary(t)
		first := begin(t, p, "two\n")
		res := begin(t, p, "three\n")
		if row := rowOf(t, p); res.Version != 3 || row.ID == first.Rollout || row.Version != 3 || row.Base.Version != 1 {
			t.Errorf("%+v, row %+v", res, row)
		}
		if why := rollout.ParseWithdrawn(get1(t, p.Store, p.Layout.HistoryWithdrawn(hosts, 2))); why == nil || why.End != rollout.Superseded {
			t.Errorf("version 2: %+v", why)
		}
		if res := begin(t, p, "two\n"); res.Version != 4 { // it has not failed
			t.Errorf("the content again: %+v", res)
		}
	})
	t.Run("--now ends it", func(t *testing.T) {
		p := canary(t)
		begin(t, p, "two\n")
		if _, err := p.Publish(t.Context(), Request{Key: hosts, Content: []byte("three\n"), Now: true}); !isA[*gate.Refusal](err) {
			t.Errorf("without a message: %v", err)
		}
		res, err := p.Publish(t.Context(), Request{Key: hosts, Content: []byte("three\n"), Now: true, Message: "outage"})
		if row := rowOf(t, p); err != nil || res.Action != Published || res.Version != 3 || row.State != rollout.Superseded {
			t.Fatalf("%+v, %v, row %+v", res, err, row)
		}
		mustBeLive(t, p.Store, p.Layout, hosts, res, []byte("three\n"))
		if m := pastVersions(t, p.Store, p.Layout, hosts)[3]; !m.Now || m.Previous != 1 {
			t.Errorf("the manifest is %+v", m)
		}
	})
	t.Run("--now ends one that cannot be read", func(t *testing.T) {
		p := canary(t)
		begin(t, p, "two\n")
		put(t, p.Store, p.Layout.Rollout(hosts), `{"format":9}`, 0)
		req := Request{Key: hosts, Content: []byte("three\n"), Message: "why"}
		if _, err := p.Publish(t.Context(), req); !isA[*gate.Refusal](err) {
			t.Errorf("got %v", err)
		}
		req.Now = true
		if res, err := p.Publish(t.Context(), req); err != nil || res.Version != 3 {
			t.Errorf("%+v, %v", res, err)
		}
	})
	t.Run("without a policy", func(t *testing.T) {
		p := canary(t)
		begin(t, p, "two\n")
		remove(t, p.Store, p.Layout.Policy(hosts))
		if res := do(t, p, "three\n"); res.Action != Published || res.Version != 3 || rowOf(t, p).State != rollout.Superseded {
			t.Errorf("%+v, row %+v", res, rowOf(t, p))
		}
	})
	t.Run("--if-version does not hold", func(t *testing.T) {
		p := canary(t)
		begin(t, p, "two\n")
		one := uint64(1)
		_, err := p.Publish(t.Context(), Request{Key: hosts, Content: []byte("three\n"), IfVersion: &one})
		if !isA[*Conflict](err) || !strings.Contains(err.Error(), "version 2 is being rolled out") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a rollback is at once", func(t *testing.T) {
		p := canary(t)
		setPolicy(t, p, rollout.Policy{})
		do(t, p, "two\n")
		setPolicy(t, p, staged())
		begin(t, p, "three\n")
		req := Request{Key: hosts}
		if _, err := p.GoBack(t.Context(), &req, 1); err != nil {
			t.Fatal(err)
		}
		res, err := p.Publish(t.Context(), req)
		if err != nil || res.Action != Published || res.Version != 4 || rowOf(t, p).State != rollout.Superseded {
			t.Errorf("%+v, %v, row %+v", res, err, rowOf(t, p))
		}
	})
}

// Content that was withdrawn is refused, also while it is being withdrawn; --retry and --now publish it.
func TestWithdrawnContent(t *testing.T) {
	p := canary(t)
	begin(t, p, "two\n")
	setRow(t, p, func(r *rollout.Row) { r.State, r.Reason = rollout.Reverting, "n1 failed: probe" })
	refused := func() {
		t.Helper()
		_, err := p.Publish(t.Context(), Request{Key: hosts, Content: []byte("two\n")})
		var why *record.NeverLive
		if !errors.As(err, &why) || why.Version != 2 || !strings.Contains(err.Error(), "n1 failed: probe") {
			t.Errorf("got %v", err)
		}
	}
	refused()
	fail(t, p)
	refused()
	res, err := p.Publish(t.Context(), Request{Key: hosts, Content: []byte("two\n"), Retry: true})
	if err != nil || res.Action != RollingOut || res.Version != 3 {
		t.Fatalf("--retry: %+v, %v", res, err)
	}
	fail(t, p)
	setPolicy(t, p, rollout.Policy{}) // without stages it is still bad
	if _, err := p.Publish(t.Context(), Request{Key: hosts, Content: []byte("two\n")}); !isA[*record.NeverLive](err) {
		t.Errorf("without stages: %v", err)
	}
	if _, err := p.Publish(t.Context(), Request{Key: hosts, Content: []byte("two\n"), Now: true, Message: "why"}); err != nil {
		t.Errorf("--now: %v", err)
	}
}

// Ten versions that were current are kept, and three that were withdrawn. No number comes twice.
func TestHistoryOfRollouts(t *testing.T) {
	p := canary(t)
	next := uint64(2)
	for i := range 40 {
		if res := begin(t, p, fmt.Sprintf("%d\n", i)); res.Version != next {
			t.Fatalf("version %d, want %d", res.Version, next)
		}
		next++
		if i%4 == 0 {
			if err := promote(t, p); err != nil {
				t.Fatal(err)
			}
			continue
		}
		fail(t, p)
	}
	var live, withdrawn []uint64
	for n := range pastVersions(t, p.Store, p.Layout, hosts) {
		if get1(t, p.Store, p.Layout.HistoryWithdrawn(hosts, n)).State == kv.Present {
			withdrawn = append(withdrawn, n)
		} else {
			live = append(live, n)
		}
	}
	if slices.Sort(withdrawn); len(live) < 10 || len(live) > 11 || len(withdrawn) < 3 || len(withdrawn) > 4 {
		t.Errorf("history has %v and withdrawn %v", live, withdrawn)
	}
	if !slices.Contains(withdrawn, 41) || !slices.Contains(withdrawn, 40) || !slices.Contains(withdrawn, 39) {
		t.Errorf("withdrawn: %v, want 39, 40 and 41", withdrawn)
	}
}

// denying is a Store that hides rows, and refuses to write them.
type denying struct {
	kv.Store
	path string
}

func (s denying) Read(ctx context.Context, c kv.Consistency, paths ...string) (kv.Snapshot, error) {
	rows, err := s.Store.Read(ctx, c, paths...)
	delete(rows, s.path)
	return rows, err
}

func (s denying) Commit(ctx context.Context, ops []kv.Op) (map[string]uint64, error) {
	if slices.ContainsFunc(ops, func(op kv.Op) bool { return op.Path == s.path }) {
		return nil, &kv.StoreError{Op: "write " + s.path, Kind: kv.ErrDenied}
	}
	return s.Store.Commit(ctx, ops)
}
