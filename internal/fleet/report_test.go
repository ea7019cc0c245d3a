package fleet

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"
)

func TestPercentiles(t *testing.T) {
	if got := percentiles(nil); got != (Percentiles{}) {
		t.Errorf("%+v", got)
	}
	for n := 1; n < 1200; n += 1 + n/20 {
		all := make([]delivery, n)
		for i, v := range rand.Perm(n) {
			all[i] = delivery{fmt.Sprint(v + 1), time.Duration(v + 1)}
		}
		up := func(p int) Millis { return Millis((n*p + 99) / 100) } // the nearest rank
		if got, want := percentiles(all),
			(Percentiles{n, up(50), up(90), up(99), Millis(n), fmt.Sprint(n)}); !reflect.DeepEqual(got, want) {
			t.Fatalf("of %d: %+v, want %+v", n, got, want)
		}
	}
}

func TestReportCounts(t *testing.T) {
	s := newScenario()
	took := func(d time.Duration) Target {
		return has(5).but(func(t *Target) {
			t.Placed = &Placed{Age: Millis(time.Minute - d - time.Second), Steps: Steps{Wait: Millis(d), Exec: Millis(2 * d)}}
		})
	}
	for i := range 100 {
		s.node(time.Second, true, took(time.Duration(i+1)*10*time.Millisecond))
	}
	s.node(time.Second, true, has(5)) // it was there before it reported
	s.node(time.Second, true, took(time.Second).but(func(t *Target) { t.Placed.First = true }))
	s.node(time.Second, true, took(-time.Hour)) // by clocks that were set
	s.node(time.Second, true, has(4).but(func(t *Target) { t.Placed = &Placed{Steps: Steps{Wait: Millis(day)}} }))
	s.node(time.Second, true, has(6).but(func(t *Target) { t.Placed = &Placed{Steps: Steps{Wait: Millis(day)}} }))
	s.node(time.Hour, true, has(4))
	s.node(2*day, true, has(4))
	s.nodes = append(s.nodes, Node{Name: "web-x", Err: ErrReceipt, Index: 5})
	r := s.examine()
	if counts(r) != "103 converged, 1 outdated, 1 invalid, 1 no_contact, 1 expired, 1 unreadable" {
		t.Errorf("%s", counts(r))
	}
	if r.Published == nil || r.By != "me@here" || r.Message != "why" || !r.Exists || r.Version != 5 || r.SHA256 != sha(5) {
		t.Errorf("%+v", r)
	}
	if len(r.Stragglers) != 2 || len(r.NoContact) != 1 || r.Unread[0].Node != "web-x" || r.Unread[0].Why == "" {
		t.Errorf("%+v %+v %+v", r.Stragglers, r.NoContact, r.Unread)
	}
	ms := func(n int) Millis { return Millis(time.Duration(n) * time.Millisecond) }
	if want := (Percentiles{Count: 100, P50: ms(500), P90: ms(900), P99: ms(990), Slowest: ms(1000),
		SlowestNode: "web-99"}); r.Delivered != want {
		t.Errorf("delivered %+v, want %+v", r.Delivered, want)
	}
	if r.OnNode.Count != 102 || r.Exec.Count != 101 || r.Unmeasured != 3 {
		t.Errorf("%+v %+v, %d unmeasured", r.OnNode, r.Exec, r.Unmeasured)
	}
	if share := r.Share(); share != 103.0/105 {
		t.Errorf("%g", share)
	}
}
