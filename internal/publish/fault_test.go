package publish

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"kvexpress/internal/kv"
)

// TestDeathBeforeEachRequest ends a publish before its first, second, third …
// request: the live version is the old or the new one, whole, and a new publish
// succeeds.
func TestDeathBeforeEachRequest(t *testing.T) {
	first, mine, next := []byte("first\n"), noise(300<<10, 1), []byte("next\n")
	setups := map[string]struct {
		setup func(*testing.T, kv.Store, kv.Layout)
		steps []Point
	}{
		"new": {func(*testing.T, kv.Store, kv.Layout) {},
			[]Point{AtRead, AtNested, AtHistoryList, AtHistoryCheck, AtHistoryWrite, AtPromote, AtResolve, AtPromoteAgain}},
		"there": {func(t *testing.T, s kv.Store, _ kv.Layout) { do(t, publisher(t, s), string(first)) },
			[]Point{AtRead, AtHistoryList, AtHistoryCheck, AtHistoryWrite, AtPromote, AtResolve, AtPromoteAgain}},
		"deleted": {func(t *testing.T, s kv.Store, l kv.Layout) {
			do(t, publisher(t, s), string(first))
			remove(t, s, l.Data(hosts), l.Checksum(hosts), l.Manifest(hosts))
		}, []Point{AtRead, AtNested, AtHistoryList, AtHistoryRead, AtHistoryCheck, AtHistoryWrite, AtPromote, AtResolve,
			AtPromoteAgain}},
	}
	for name, tt := range setups {
		for i, at := range tt.steps {
			t.Run(fmt.Sprintf("%s, %s", name, at), func(t *testing.T) {
				s := newStore()
				p := publisher(t, nil)
				tt.setup(t, s, p.Layout)
				before := get1(t, s, p.Layout.Manifest(hosts))
				pr := &probe{Store: s}
				doubt(pr, 2, false) // the promote: its outcome must be resolved
				p.Store = pr
				var steps []Point
				p.Fault = func(st Point) error {
					if steps = append(steps, st); st == at {
						return errDied
					}
					return nil
				}
				_, err := p.Publish(t.Context(), Request{Key: hosts, Content: mine})
				if !errors.Is(err, errDied) || len(steps) != i+1 || steps[i] != tt.steps[i] {
					t.Fatalf("got %v after %v", err, steps)
				}
				if unknown := at == AtResolve || at == AtPromoteAgain; errors.Is(err, kv.ErrUnknownOutcome) != unknown {
					t.Errorf("got %v", err)
				}
				if after := get1(t, s, p.Layout.Manifest(hosts)); after.Index != before.Index {
					t.Error("the live manifest has changed")
				}
				res := do(t, publisher(t, s), string(next))
				mustBeLive(t, s, p.Layout, hosts, res, next)
			})
		}
	}
}

// TestWhatIsLogged follows one publish through a lost race and an unknown
// outcome: both are in the log, without the content.
func TestWhatIsLogged(t *testing.T) {
	var log bytes.Buffer
	s := &probe{Store: newStore()}
	rival := publisher(t, s.Store)
	doubt(s, 2, true)
	p := publisher(t, s)
	p.Log = slog.New(slog.NewTextHandler(&log, nil))
	before(p, AtPromote, func() { do(t, rival, "rival\n") })
	res := do(t, p, "s3cret\n")
	if res.Version != 2 || !res.Resolved || res.Attempts != 2 {
		t.Fatalf("got %+v", res)
	}
	for _, want := range []string{"unknown", "key=hosts"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("%q is not in the log:\n%s", want, log.String())
		}
	}
	if strings.Contains(log.String(), "s3cret") {
		t.Errorf("the content is in the log:\n%s", log.String())
	}
}
