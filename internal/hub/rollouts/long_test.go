package rollouts_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"kvexpress/internal/hub/rollouts"
	"kvexpress/internal/rollout"
)

// A rollout that no hub moved for its timeout and a minute waits for a person, whether no hub ever had it or one was killed. One
// that was moved a moment ago goes on.
func TestStale(t *testing.T) {
	const slow = `{"stages":[{"count":1,"bake":"20s"},{"share":"100%"}],"timeout":"30s"}`
	for _, test := range []struct {
		first bool // a hub has it first
		down  time.Duration
		want  rollout.State
	}{
		{false, time.Minute, rollout.Promoted}, {false, 3 * time.Minute, rollout.Paused},
		{true, time.Minute, rollout.Promoted}, {true, 3 * time.Minute, rollout.Paused},
	} {
		within(t, func(w *world) {
			if test.first {
				h := w.hub()
				w.join(h, names("web", 4)...)
				w.begin("r1", "two", plan(t, slow))
				pass(3 * time.Second)
				h.stop()
			} else {
				w.begin("r1", "two", plan(t, slow))
			}
			pass(test.down)
			h := w.hub()
			w.join(h, names("web", 4)...)
			w.until(test.want)
			if test.want == rollout.Paused {
				pass(time.Minute)
				w.change(rollout.Row.Resume)
			}
			w.until(rollout.Promoted, func() bool { return len(w.with("two", false)) == 4 })
		})
	}
}

// A View that waits is answered when something changes, and else when its time is over.
func TestViewWaits(t *testing.T) {
	within(t, func(w *world) {
		h := w.hub()
		w.join(h, names("web", 2)...)
		w.begin("r1", "two", plan(t, `{"stages":[{"count":1,"bake":"1h"},{"share":"100%"}]}`))
		pass(5 * time.Second)
		v, err := h.View(context.Background(), hosts, 0, 0, false)
		if err != nil || v.Row == nil || len(v.Stages) != 2 || v.Stages[0].Healthy != 1 || v.Stages[0].Waits == "" {
			t.Fatalf("the view is %+v, %v", v, err)
		}
		done := make(chan rollout.View, 1)
		go func() {
			for v.Row.State == rollout.Running {
				v, _ = h.View(context.Background(), hosts, v.Index, time.Minute, false)
			}
			done <- v
		}()
		pass(5 * time.Second)
		began := time.Now()
		w.change(func(r rollout.Row) (rollout.Row, error) { return r.Pause("lunch") })
		if v := <-done; v.Row.State != rollout.Paused || time.Since(began) > time.Second {
			t.Errorf("after %s the view is %+v", time.Since(began), v.Row)
		}
	})
}

// Preview counts the nodes of all hubs, and says why no rollout can begin.
func TestPreview(t *testing.T) {
	within(t, func(w *world) {
		a := w.hub()
		b := w.hub()
		w.join(a, names("a", 3)...)
		w.join(b, names("b", 4)...)
		policy, err := rollout.Policy{Plan: plan(t, `{"stages":[{"nodes":{"role":"canary"}},{"share":"100%"}],"gates":["dns"]}`)}.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		w.commit(put(layout.Policy(hosts), string(policy)), put(layout.Lock("/etc/hosts", "a-01"), "why"))
		p, err := a.Preview(context.Background(), hosts)
		if err != nil || p.Nodes != 6 || p.LeftN != 1 || len(p.Problems) != 2 {
			t.Errorf("the preview is %+v, %v", p, err)
		}
	})
}

// The webhook is tried three times, and a notice that it does not take does not keep the next one from it.
func TestWebhookIsTriedAgain(t *testing.T) {
	tries, taken := 0, make(chan rollouts.Notice, 10)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var n rollouts.Notice
		_ = json.NewDecoder(r.Body).Decode(&n)
		if tries++; tries < 3 || n.Version == 7 {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		taken <- n
	}))
	defer server.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	n := rollouts.StartNotifier(ctx, &rollouts.Webhook{URL: server.URL}, slog.New(slog.DiscardHandler))
	for _, version := range []uint64{1, 7, 2} {
		n(rollouts.Notice{Version: version})
	}
	for _, want := range []uint64{1, 2} {
		select {
		case got := <-taken:
			if got.Version != want {
				t.Errorf("the webhook got %d, want %d", got.Version, want)
			}
		case <-time.After(time.Minute):
			t.Fatalf("the webhook did not get %d", want)
		}
	}
}
