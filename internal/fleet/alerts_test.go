package fleet_test

import (
	"cmp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/common/model"

	"kvexpress/internal/fleet"
	"kvexpress/internal/hub"
	"kvexpress/internal/hub/rollouts"
	"kvexpress/internal/outcome"
	"kvexpress/internal/rollout"
)

// story is what happens to a fleet: a function that is called before each scrape, with
// the time that has passed.
type story struct {
	name  string
	lasts time.Duration
	every time.Duration // between two scrapes; 0: 30 s
	step  func(w *world, passed time.Duration)
	// without leaves out targets: no hub, or no agent, is scraped.
	without []string
	agentIs func(passed time.Duration) bool // whether the agent is well; nil: it is
	hubIs   func(passed time.Duration) hub.Own
	fires   []string // the alerts that fire at the end, and no other
}

// Each alert fires in the story that it is for, and not in one that is nearly it.
func TestAlerts(t *testing.T) {
	healthy := func(w *world, passed time.Duration) {
		if passed%(5*time.Minute) == 0 {
			w.publish("hosts")
		}
		report(w, w.has("hosts"))
	}
	// at does something once, in a fleet that is well otherwise.
	at := func(when time.Duration, do func(w *world)) func(*world, time.Duration) {
		return func(w *world, passed time.Duration) {
			healthy(w, passed)
			if passed == when {
				do(w)
			}
		}
	}
	// late is a node that keeps an outcome from the fifth minute on.
	late := func(o outcome.Outcome, last time.Duration) func(*world, time.Duration) {
		var old fleet.Target
		return func(w *world, passed time.Duration) {
			healthy(w, passed)
			switch {
			case passed < 5*time.Minute:
				old = w.has("hosts")
			case passed < 5*time.Minute+last && o == outcome.Pending:
				w.report("web-1", in(w.has("hosts"), o, passed-5*time.Minute))
			case passed < 5*time.Minute+last:
				w.report("web-1", in(old, o, passed-5*time.Minute))
			}
		}
	}
	lie := func(last time.Duration) func(*world, time.Duration) {
		return func(w *world, passed time.Duration) {
			healthy(w, passed)
			if passed < last {
				t := w.has("hosts")
				t.SHA256 = strings.Repeat("a", 64)
				w.report("web-1", t)
			}
		}
	}
	stop := func(w *world) { _, _ = w.freezer.Stop(w.t.Context(), "hosts", "why") }
	unreachable := func(from, to time.Duration) func(*world, time.Duration) {
		return func(w *world, passed time.Duration) {
			w.store.down.Store(false)
			healthy(w, passed)
			w.store.down.Store(passed >= from && passed < to)
		}
	}
	ever := 1000 * time.Hour
	outdated := late(outcome.Converged, ever)
	stories := []story{
		{name: "all is well", lasts: 2 * time.Hour, every: 2 * time.Minute, step: healthy},
		{name: "no hub", lasts: 11 * time.Minute, step: healthy, without: []string{"hub"},
			fires: []string{"KvexpressHubDown"}},
		{name: "the hub is restarted", lasts: 4 * time.Minute, step: healthy, without: []string{"hub"}},
		{name: "the store is unreachable", lasts: 21 * time.Minute, step: unreachable(10*time.Minute, ever), fires: []string{"KvexpressStoreUnreachable"}},
		{name: "the store was unreachable for a moment", lasts: 20 * time.Minute, step: unreachable(10*time.Minute, 14*time.Minute)},
		{name: "a node hears of nothing", lasts: 31 * time.Minute, step: late(outcome.Converged, ever), fires: []string{"KvexpressStuck"}},
		{name: "a node refuses it", lasts: 31 * time.Minute, step: late(outcome.Refused, ever), fires: []string{"KvexpressStuck"}},
		{name: "a node was late", lasts: 31 * time.Minute, step: late(outcome.Failed, 10*time.Minute)},
		{name: "a node is locked", lasts: 2 * time.Hour, every: 2 * time.Minute, step: late(outcome.Locked, ever)},
		{name: "a node is locked for days", lasts: 25 * time.Hour, every: 2 * time.Minute, step: late(outcome.Locked, ever),
			fires: []string{"KvexpressLockedTooLong"}},
		{name: "a node waits for its time", lasts: 2 * time.Hour, every: 2 * time.Minute, step: late(outcome.Waiting, ever)},
		{name: "an exec fails", lasts: 16 * time.Minute, step: late(outcome.Pending, ever), fires: []string{"KvexpressExecFailing"}},
		{name: "an exec failed for a while", lasts: 31 * time.Minute, step: late(outcome.Pending, 8*time.Minute)},
		{name: "nodes have no contact", lasts: 40 * time.Minute, step: func(w *world, passed time.Duration) {
			healthy(w, passed)
			if passed == 0 {
				w.report("web-9", w.has("hosts"))
			}
		}, fires: []string{"KvexpressContactLost", "KvexpressNoContact"}},
		{name: "a node has just lost contact", lasts: 150 * time.Second, step: func(w *world, passed time.Duration) {
			healthy(w, passed)
			if passed == 0 {
				w.report("web-9", w.has("hosts"))
			}
		}},
		{name: "a node is rebooted", lasts: 40 * time.Minute, step: func(w *world, passed time.Duration) {
			healthy(w, passed)
			if passed < 10*time.Minute || passed > 20*time.Minute {
				w.report("web-9", w.has("hosts"))
			}
		}},
		{name: "a stop is forgotten", lasts: 5 * time.Hour, every: 2 * time.Minute, step: at(10*time.Minute, stop),
			fires: []string{"KvexpressStoppedTooLong"}},
		{name: "a stop by kvexpress 1.x is forgotten", lasts: 80 * time.Minute,
			step:  at(10*time.Minute, func(w *world) { w.put(w.layout.Stop("hosts"), "why", 0) }),
			fires: []string{"KvexpressStoppedTooLong"}},
		{name: "a stop for an hour", lasts: 2 * time.Hour, every: 2 * time.Minute, step: at(10*time.Minute, stop)},
		{name: "a stop, and outdated nodes", lasts: time.Hour, step: func(w *world, passed time.Duration) {
			outdated(w, passed)
			if passed == 0 {
				stop(w)
			}
		}},
		{name: "a node lies", lasts: 16 * time.Minute, step: lie(9 * time.Minute)},
		{name: "a node goes on lying", lasts: 11 * time.Minute, step: lie(ever), fires: []string{"KvexpressInvalidReceipts"}},
		{name: "a receipt is damaged", lasts: 21 * time.Minute,
			step:  at(5*time.Minute, func(w *world) { w.put(w.layout.Node("web-8"), "{", 0) }),
			fires: []string{"KvexpressUnreadableReceipts"}},
		{name: "a newer kvexpress published", lasts: 21 * time.Minute, step: at(5*time.Minute, func(w *world) {
			w.put(w.layout.Checksum("other"), strings.Repeat("0", 64), 0)
			w.put(w.layout.Manifest("other"), `{"format":9}`, 0)
		}), fires: []string{"KvexpressUnreadableKeys"}},
		{name: "a clock is wrong", lasts: 80 * time.Minute, step: func(w *world, passed time.Duration) {
			healthy(w, passed)
			w.reportAt("web-2", time.Now().Add(-time.Minute), w.has("hosts"))
			w.report("web-3", w.has("hosts"))
		}, fires: []string{"KvexpressClocksOff"}},
		{name: "an agent is in trouble", lasts: 30 * time.Minute, step: healthy, agentIs: func(time.Duration) bool { return false },
			fires: []string{"KvexpressAgentConfig", "KvexpressAgentNoContact", "KvexpressAgentNotConverged", "KvexpressAgentWithoutHub"}},
		{name: "an agent was in trouble", lasts: 30 * time.Minute, step: healthy,
			agentIs: func(passed time.Duration) bool { return passed > 4*time.Minute }},
	}
	busy := func(passed time.Duration) (o hub.Own) {
		o.Agents.Agents, o.Agents.Accepted, o.Agents.Pushed = 5, 5, uint64(passed/time.Second)
		o.Receipts.Taken, o.Receipts.Batches, o.Feed.Age = uint64(passed/time.Second), uint64(passed/time.Second), 5*time.Second
		return o
	}
	// trouble is what a hub has until the end of a story, or for a while.
	trouble := func(until time.Duration) func(time.Duration) hub.Own {
		return func(passed time.Duration) hub.Own {
			o, lasts := busy(passed), min(passed, until)
			o.Agents.Refused, o.Receipts.Failed = uint64(lasts/time.Minute), uint64(lasts/time.Minute)
			if passed < until {
				o.Feed.Age, o.Agents.Twins = lasts, 1
			}
			return o
		}
	}
	// rolling has one rollout in a state, and one that ends in the last minutes.
	rolling := func(state, end rollout.State) func(time.Duration) hub.Own {
		return func(passed time.Duration) hub.Own {
			o := busy(passed)
			o.Rollouts.Open = []rollouts.Open{{Key: "hosts", State: state, Stages: 3}}
			if passed > 25*time.Minute {
				o.Rollouts.Ends = map[rollout.State]uint64{end: 1}
			}
			return o
		}
	}
	stories = append(stories,
		story{name: "a hub is busy", lasts: 30 * time.Minute, step: healthy, hubIs: busy},
		story{name: "a hub is in trouble", lasts: 30 * time.Minute, step: healthy, hubIs: trouble(ever),
			fires: []string{"KvexpressAgentsRefused", "KvexpressDuplicateNodes", "KvexpressHubBehind", "KvexpressReceiptsNotWritten"}},
		story{name: "rollouts go well", lasts: 30 * time.Minute, step: healthy, hubIs: rolling(rollout.Running, rollout.Promoted)},
		story{name: "a rollout is halted, another was reverted", lasts: 30 * time.Minute, step: healthy,
			hubIs: rolling(rollout.Halted, rollout.Reverted), fires: []string{"KvexpressRolloutHalted", "KvexpressRolloutReverted"}},
		story{name: "a rollout is paused", lasts: 2 * time.Hour, step: healthy, hubIs: rolling(rollout.Paused, rollout.Promoted),
			fires: []string{"KvexpressRolloutWaits"}},
		story{name: "a rollout was paused", lasts: 50 * time.Minute, step: healthy, hubIs: rolling(rollout.Paused, rollout.Aborted)},
		story{name: "a hub was in trouble", lasts: 30 * time.Minute, step: healthy, hubIs: trouble(4 * time.Minute)},
	)
	all, bin := readRules(t), engine(t)
	fired := map[string]bool{}
	for _, s := range stories {
		got := s.firing(t, bin, all)
		slices.Sort(s.fires)
		if !slices.Equal(got, s.fires) {
			t.Errorf("%s: %v fire, want %v", s.name, got, s.fires)
		}
		for _, name := range got {
			fired[name] = true
		}
	}
	for _, r := range all {
		if !fired[r.Alert] {
			t.Errorf("%s fires in no story", r.Alert)
		}
	}
}

// report writes the same receipt for a fleet of five nodes.
func report(w *world, t fleet.Target) {
	for _, node := range []string{"web-1", "web-2", "web-3", "web-4", "web-5"} {
		w.report(node, t)
	}
}

// firing plays a story, and returns which alerts fire at its end.
func (s story) firing(t *testing.T, bin string, all []rule) []string {
	t.Helper()
	every := cmp.Or(s.every, 30*time.Second)
	req := request{Step: every}
	for _, r := range all {
		req.Exprs = append(req.Exprs, r.Expr)
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		began := time.Now()
		take := func(job, text string) {
			if !slices.Contains(s.without, job) {
				req.Scrapes = append(req.Scrapes,
					sample{At: time.Now(), Target: map[string]string{"job": job, "instance": job + "-1:9357"}, Text: text})
			}
		}
		for passed := time.Duration(0); passed <= s.lasts; passed += every {
			if early := time.Until(began.Add(passed)); early > 0 {
				pass(early)
			}
			s.step(w, passed)
			w.scan()
			own := ""
			if s.hubIs != nil {
				own = hubText(t, s.hubIs(passed))
			}
			take("hub", w.text()+own)
			take("agent", agentText(t, time.Now(), s.agentIs == nil || s.agentIs(passed)))
		}
	})
	var firing []string
	end := req.Scrapes[len(req.Scrapes)-1].At
	for i, answer := range ask(t, bin, req) {
		if answer.Error != "" {
			t.Errorf("%s: %s", all[i].Alert, answer.Error)
		}
		d, err := model.ParseDuration(all[i].For)
		if err != nil {
			t.Fatal(err)
		}
		for _, series := range answer.Series {
			if holds(series.At, end.Add(-time.Duration(d)), end, every) {
				firing = append(firing, all[i].Alert)
				break
			}
		}
	}
	slices.Sort(firing)
	return firing
}

// holds reports whether an expression has had a value all the time.
func holds(at []time.Time, from, to time.Time, every time.Duration) bool {
	need := int(to.Sub(from)/every) + 1
	have := 0
	for _, a := range at {
		if !a.Before(from.Truncate(time.Millisecond)) && !a.After(to) {
			have++
		}
	}
	return have >= need-1 && len(at) > 0 && to.Sub(at[len(at)-1]) < every
}
