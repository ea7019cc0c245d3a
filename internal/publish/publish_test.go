package publish

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/embedded"
	"kvexpress/internal/gate"
	"kvexpress/internal/kv"
	"kvexpress/internal/record"
)

func TestPublishNewSameAndOther(t *testing.T) {
	s := &probe{Store: newStore()}
	p := publisher(t, s)
	first := do(t, p, "a\n")
	if first.Action != Published || first.Version != 1 || first.Previous != 0 || first.Old != nil || first.Attempts != 1 {
		t.Errorf("first: %+v", first)
	}
	mustBeLive(t, s, p.Layout, hosts, first, []byte("a\n"))

	same := do(t, p, "a\n")
	if same.Action != Unchanged || same.Version != 1 || same.Lineage != first.Lineage || s.commits != 1 {
		t.Errorf("same: %+v after %d commits", same, s.commits)
	}
	res, err := p.Publish(t.Context(), Request{Key: hosts, Content: []byte("a\n"), Encoding: record.Brotli})
	if err != nil || res.Action != Unchanged {
		t.Errorf("same bytes in another encoding: %+v, %v", res, err)
	}

	other, err := p.Publish(t.Context(),
		Request{Key: hosts, Content: []byte("b\nc\n"), Encoding: record.Brotli, Message: "two", MinLines: 2})
	if err != nil {
		t.Fatal(err)
	}
	if other.Version != 2 || other.Previous != 1 || string(other.Old) != "a\n" || other.Lineage != first.Lineage ||
		other.Lines != 2 || other.Size != 4 {
		t.Errorf("other: %+v", other)
	}
	mustBeLive(t, s, p.Layout, hosts, other, []byte("b\nc\n"))
	m, err := kv.ParseManifest(get1(t, s, p.Layout.Manifest(hosts)).Value)
	if err != nil || m.Message != "two" || m.By != "ann@build" || m.Encoding != "brotli" || !m.PublishedAt.Equal(p.Now()) {
		t.Errorf("manifest: %+v, %v", m, err)
	}
	if flags := get1(t, s, p.Layout.Data(hosts)).Flags; flags != 1 {
		t.Errorf("flags of the data: %d, want 1", flags)
	}
}

// A wait measures from PublishedAt: it must be right although the clock is set meanwhile. The
// manifest has the clock offset that the store shows.
func TestClockOfThePublisher(t *testing.T) {
	s := newStore()
	p := publisher(t, s)
	p.Now = time.Now
	res := do(t, p, "a\n")
	if !strings.Contains(res.Published.String(), " m=") {
		t.Error("the monotonic reading is lost")
	}
	m, err := kv.ParseManifest(get1(t, s, p.Layout.Manifest(hosts)).Value)
	if err != nil || m.ClockOffset == nil || *m.ClockOffset != 0 || !m.PublishedAt.Equal(res.Published) {
		t.Errorf("%v, %+v", err, m)
	}
}

func TestContentIsGatedBeforeAnyRequest(t *testing.T) {
	tests := map[string]struct {
		req  Request
		want gate.Reason
		text string
	}{
		"empty": {Request{}, gate.Empty, "empty"},
		"short": {Request{Content: []byte("1\n2\n"), MinLines: 3}, gate.TooShort, "2 lines; minimum is 3"},
		"plain": {Request{Content: noise(kv.MaxStored+1, 1)}, gate.TooLarge,
			"389121 bytes as plain, at most 389120 fit into one transaction; split the file"},
		"compressed":     {Request{Content: noise(kv.MaxStored+1, 1), Encoding: record.Zstd}, gate.TooLarge, "split the file"},
		"beyond reading": {Request{Content: make([]byte, record.MaxPlain+1), Encoding: record.Zstd}, gate.TooLarge, "16777217"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := publisher(t, newStore())
			p.Fault = func(at Point) error { return fmt.Errorf("no request is due, but there was %q", at) }
			tt.req.Key = hosts
			_, err := p.Publish(t.Context(), tt.req)
			var r *gate.Refusal
			if !errors.As(err, &r) || r.Reason != tt.want || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("got %v, want %s with %q", err, tt.want, tt.text)
			}
		})
	}
	t.Run("message", func(t *testing.T) {
		p := publisher(t, newStore())
		p.Fault = func(at Point) error { return fmt.Errorf("no request is due, but there was %q", at) }
		for _, m := range []string{strings.Repeat("x", kv.MaxMessage+1), "a\nb", "\x1b[31m", "\xff", "\u202e", "\u2028"} {
			if _, err := p.Publish(t.Context(), Request{Key: hosts, Content: []byte("a"), Message: m}); !errors.Is(err, gate.ErrMessage) {
				t.Errorf("message %q: %v", m, err)
			}
		}
	})
}

func TestStop(t *testing.T) {
	s := newStore()
	p := publisher(t, s)
	do(t, p, "a\n")
	put(t, s, p.Layout.Stop(hosts), "maintenance\x1b[2J", 0)
	_, err := p.Publish(t.Context(), Request{Key: hosts, Content: []byte("b\n")})
	var stopped *gate.Stopped
	if !errors.As(err, &stopped) || !strings.Contains(err.Error(), `"maintenance\x1b[2J"`) {
		t.Errorf("under a stop: %v", err)
	}
	res, err := p.Publish(t.Context(), Request{Key: hosts, Content: []byte("b\n"), IgnoreStop: true})
	if err != nil || res.Version != 2 || !hasNote(res, "resume") {
		t.Errorf("ignoring it: %+v, %v", res, err)
	}
	put(t, s, p.Layout.Stop(hosts), "", 0)
	if res := do(t, p, "c\n"); res.Version != 3 {
		t.Errorf("with an empty stop: %+v", res)
	}
}

func TestDenied(t *testing.T) {
	l := layout(t, "kvexpress")
	const deep = kv.Key("team/app/flags")
	deny := func(what ...string) *embedded.Store {
		return embedded.New(embedded.Deny(func(path string, _ bool) bool { return slices.Contains(what, path) }))
	}
	for _, path := range []string{l.Data(deep), l.Checksum(deep), l.Manifest(deep), l.Stop(deep)} {
		_, err := publisher(t, deny(path)).Publish(t.Context(), Request{Key: deep, Content: []byte("a\n")})
		if !errors.Is(err, kv.ErrDenied) || !strings.Contains(err.Error(), path[strings.LastIndexByte(path, 0x2f)+1:]) {
			t.Errorf("%s denied: %v", path, err)
		}
	}
	p := publisher(t, deny(l.Checksum("team"), l.Checksum("team/app")))
	if res, err := p.Publish(t.Context(), Request{Key: deep, Content: []byte("a\n")}); err != nil || res.Version != 1 {
		t.Errorf("ancestors denied: %+v, %v", res, err)
	}
	readOnly := embedded.New(embedded.Deny(func(_ string, write bool) bool { return write }))
	_, err := publisher(t, readOnly).Publish(t.Context(), Request{Key: deep, Content: []byte("a\n")})
	if !errors.Is(err, kv.ErrDenied) {
		t.Errorf("write denied: %v", err)
	}
}

func TestNested(t *testing.T) {
	s := newStore()
	p := publisher(t, s)
	for _, tt := range []struct{ there, key kv.Key }{{"a", "a/b"}, {"x", "x/y/z"}, {"m/n/o", "m"}, {"q/r", "q"}} {
		if _, err := p.Publish(t.Context(), Request{Key: tt.there, Content: []byte("1\n")}); err != nil {
			t.Fatal(err)
		}
		_, err := p.Publish(t.Context(), Request{Key: tt.key, Content: []byte("2\n")})
		var name *kv.NameError
		if !errors.As(err, &name) || !strings.Contains(err.Error(), string(tt.there)) {
			t.Errorf("%s with %s there: %v", tt.key, tt.there, err)
		}
	}
	// A key has up to 127 ancestors, more than one transaction reads.
	deep := kv.Key(strings.TrimSuffix(strings.Repeat("d/", 128), "/"))
	if _, err := p.Publish(t.Context(), Request{Key: deep, Content: []byte("1\n")}); err != nil {
		t.Fatal(err)
	}
	put(t, s, p.Layout.Checksum(deep[:2*120-1]), "x", 0)
	if _, err := p.Publish(t.Context(), Request{Key: deep, Content: []byte("2\n")}); err == nil {
		t.Error("nested in the 120th ancestor: no error")
	}
	// A reserved name below a key is not a key.
	put(t, s, p.Layout.Dir("r")+"candidate/data", "x", 0)
	if _, err := p.Publish(t.Context(), Request{Key: "r", Content: []byte("1\n")}); err != nil {
		t.Errorf("with a candidate there: %v", err)
	}
}

// IfSHA256 distinguishes versions without a number, or with the same one.
func TestIfSHA256(t *testing.T) {
	s := newStore()
	p := publisher(t, s)
	try := func(version uint64, live, text string) error {
		_, err := p.Publish(t.Context(), Request{
			Key: hosts, Content: []byte(text), IfVersion: &version, IfSHA256: record.Checksum([]byte(live)),
		})
		return err
	}
	oldWrite(t, s, p.Layout, hosts, "one\n")
	var c *Conflict
	if err := try(0, "other\n", "mine\n"); !errors.As(err, &c) || string(get1(t, s, p.Layout.Data(hosts)).Value) != "one\n" {
		t.Errorf("other bytes of 1.x stand: %v", err)
	}
	if err := try(0, "one\n", "mine\n"); err != nil {
		t.Errorf("the bytes stand: %v", err)
	}
	if err := try(1, "one\n", "mine 2\n"); !errors.As(err, &c) {
		t.Errorf("version 1 has other bytes: %v", err)
	}
	put(t, s, p.Layout.Data(hosts), "junk", 0)
	if err := try(1, "mine\n", "mine 2\n"); !errors.As(err, &c) {
		t.Errorf("the live version is damaged: %v", err)
	}
}

func TestDryRunWritesNothing(t *testing.T) {
	s := &probe{Store: newStore()}
	p := publisher(t, s)
	res, err := p.Publish(t.Context(), Request{Key: hosts, Content: []byte("a\n"), DryRun: true})
	if err != nil || res.Action != WouldPublish || res.Version != 1 || s.commits != 0 {
		t.Errorf("%+v, %v, %d commits", res, err, s.commits)
	}
	do(t, p, "a\n")
	if res, err = p.Publish(t.Context(), Request{Key: hosts, Content: []byte("a\n"), DryRun: true}); err != nil ||
		res.Action != Unchanged {
		t.Errorf("same: %+v, %v", res, err)
	}
	put(t, s, p.Layout.Stop(hosts), "x", 0)
	if _, err = p.Publish(t.Context(), Request{Key: hosts, Content: []byte("b\n"), DryRun: true}); err == nil {
		t.Error("a dry run does not tell of a stop")
	}
}

func TestUnmanagedAndDamaged(t *testing.T) {
	l := layout(t, "kvexpress")
	const a = "a\n"
	tests := map[string]struct {
		harm    func(t *testing.T, s kv.Store) // to version 1, which is "a\n"
		publish string
		want    Action
		version uint64
		old     string
	}{
		"1.x wrote other bytes": {func(t *testing.T, s kv.Store) { oldWrite(t, s, l, hosts, "x\n") }, "b\n", Published, 3, "x\n"},
		"1.x wrote ours":        {func(t *testing.T, s kv.Store) { oldWrite(t, s, l, hosts, "x\n") }, "x\n", Unchanged, 0, "x\n"},
		"checksum with newline": {func(t *testing.T, s kv.Store) { put(t, s, l.Checksum(hosts), record.Checksum([]byte(a))+"\n", 0) },
			a, Unchanged, 1, a},
		"data gone":        {func(t *testing.T, s kv.Store) { remove(t, s, l.Data(hosts)) }, a, Healed, 2, ""},
		"data gone, other": {func(t *testing.T, s kv.Store) { remove(t, s, l.Data(hosts)) }, "b\n", Published, 2, ""},
		"data other":       {func(t *testing.T, s kv.Store) { put(t, s, l.Data(hosts), "bad", 0) }, a, Healed, 2, ""},
		"data no brotli":   {func(t *testing.T, s kv.Store) { put(t, s, l.Data(hosts), "bad", 1) }, a, Healed, 2, ""},
		"checksum gone":    {func(t *testing.T, s kv.Store) { remove(t, s, l.Checksum(hosts)) }, a, Healed, 2, ""},
		"checksum other": {func(t *testing.T, s kv.Store) { put(t, s, l.Checksum(hosts), strings.Repeat("0", 64), 0) }, a,
			Healed, 2, ""},
		"manifest bad": {func(t *testing.T, s kv.Store) { put(t, s, l.Manifest(hosts), "{", 0) }, a, Healed, 2, a},
		"manifest of another key": {func(t *testing.T, s kv.Store) {
			m := string(get1(t, s, l.Manifest(hosts)).Value)
			put(t, s, l.Manifest(hosts), strings.Replace(m, `"hosts"`, `"other"`, 1), 0)
		}, a, Healed, 2, a},
		"manifest gone":        {func(t *testing.T, s kv.Store) { remove(t, s, l.Manifest(hosts)) }, a, Unchanged, 0, a},
		"manifest gone, other": {func(t *testing.T, s kv.Store) { remove(t, s, l.Manifest(hosts)) }, "b\n", Published, 2, a},
		"all gone": {func(t *testing.T, s kv.Store) {
			remove(t, s, l.Manifest(hosts), l.Data(hosts), l.Checksum(hosts))
		}, a, Published, 2, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := newStore()
			p := publisher(t, s)
			first := do(t, p, a)
			tt.harm(t, s)
			was, err := s.Read(t.Context(), kv.Default, l.Data(hosts), l.Checksum(hosts))
			if err != nil {
				t.Fatal(err)
			}
			res := do(t, p, tt.publish)
			if res.Action != tt.want || res.Version != tt.version || string(res.Old) != tt.old {
				t.Errorf("got %+v", res)
			}
			if res.Action == Unchanged {
				return
			}
			if res.Lineage != first.Lineage {
				t.Errorf("lineage %s, want to go on with %s", res.Lineage, first.Lineage)
			}
			mustBeLive(t, s, l, hosts, res, []byte(tt.publish))
			for path, row := range was { // nodes watch one of the two
				if get1(t, s, path).Index == row.Index {
					t.Errorf("no watch on %s returns", path)
				}
			}
			if again := do(t, p, tt.publish); again.Action != Unchanged {
				t.Errorf("once more: %+v", again)
			}
		})
	}
}

func TestNeedsNewer(t *testing.T) {
	l := layout(t, "kvexpress")
	for name, harm := range map[string]func(t *testing.T, s kv.Store){
		"format":   func(t *testing.T, s kv.Store) { put(t, s, l.Manifest(hosts), `{"format":2}`, 0) },
		"requires": func(t *testing.T, s kv.Store) { put(t, s, l.Manifest(hosts), `{"format":1,"requires":["chunks"]}`, 0) },
		"flags":    func(t *testing.T, s kv.Store) { put(t, s, l.Data(hosts), "x", 3) },
	} {
		t.Run(name, func(t *testing.T) {
			s := &probe{Store: newStore()}
			p := publisher(t, s)
			do(t, p, "a\n")
			harm(t, s.Store)
			_, err := p.Publish(t.Context(), Request{Key: hosts, Content: []byte("b\n")})
			var r *gate.Refusal
			if !errors.As(err, &r) || r.Reason != gate.NeedsNewer || s.commits != 1 {
				t.Errorf("got %v after %d commits", err, s.commits)
			}
		})
	}
}

func TestRequestsOfTheCommonCase(t *testing.T) {
	p := publisher(t, newStore())
	do(t, p, "a\n")
	var steps []Point
	p.Fault = func(at Point) error { steps = append(steps, at); return nil }
	do(t, p, "b\n")
	do(t, p, "b\n")
	if want := []Point{AtRead, AtHistoryList, AtPromote, AtNotify, AtRead}; !slices.Equal(steps, want) {
		t.Errorf("a change and no change took %v, want %v", steps, want)
	}
}

func TestCancelledWhileWaiting(t *testing.T) {
	s := newStore()
	p, rival := publisher(t, s), publisher(t, s)
	do(t, p, "a\n")
	ctx, cancel := context.WithCancel(t.Context())
	p.Wait = nil // the timer
	p.Fault = func(st Point) error {
		if st == AtPromote {
			do(t, rival, "rival\n")
			cancel()
		}
		return nil
	}
	if _, err := p.Publish(ctx, Request{Key: hosts, Content: []byte("b\n")}); err == nil || errors.Is(err, kv.ErrUnknownOutcome) {
		t.Errorf("got %v", err)
	}
}
