package agent

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/command"
	"kvexpress/internal/config"
	"kvexpress/internal/kv"
	"kvexpress/internal/outcome"
	"kvexpress/internal/rollout"
	"kvexpress/internal/wire"
)

// A candidate is installed, reported every second, and promoted without another exec; or it is reverted, exec included.
func TestCandidate(t *testing.T) {
	t.Parallel()
	for _, promoted := range []bool{true, false} {
		rolloutTest(t, 1, nil, func(t *testing.T, s *site, hub *fakeHub) {
			hellos, _ := hub.greeted()
			if !hellos[0].Rollouts || hellos[0].Targets[0].Probed {
				t.Errorf("%+v", hellos[0])
			}
			hub.offer("k0", "r1", "two\n")
			hub.says(rollout.Healthy)
			s.holds(0, "two\n")
			if c := s.agent.Status().Targets[0].Candidate; c == nil || c.Rollout != "r1" || !c.InPlace || c.State != rollout.Healthy {
				t.Errorf("%+v", c)
			}
			pass(5*time.Second + time.Millisecond)
			if n := len(hub.said()); n != 5 {
				t.Errorf("%d reports in 5 s", n)
			}
			hub.tell(wire.FromHub{Ask: &wire.Ask{Key: "k0", Rollout: "r1", ID: 7}})
			if last := hub.says(rollout.Healthy); last.Ask != 7 || last.Rollout != "r1" || last.Key != "k0" {
				t.Errorf("%+v", last)
			}
			content, ran := "one\n", "v2 v1"
			if promoted {
				content, ran = "two\n", "v2"
				hub.said()
				hub.promote("k0")
				pass(5 * time.Second)
			} else {
				hub.withdraw("k0")
				hub.says(rollout.Back)
			}
			s.holds(0, content)
			pass(time.Minute)
			status := s.agent.running[0].snapshot()
			if said := status.receipt(time.Now()); said.Placed == nil || said.Placed.First == promoted {
				t.Errorf("promoted %v: its arrival counts from the publish: %+v", promoted, said.Placed)
			}
			if got := strings.Join(s.ran(), " "); got != ran || len(hub.said()) != 0 {
				t.Errorf("execs %s, want %s", got, ran)
			}
			if c := s.agent.Status().Targets[0].Candidate; c != nil {
				t.Errorf("%+v", c)
			}
		})
	}
}

// The first failure of a candidate is final: nothing is tried again, until the node goes back.
func TestCandidateFails(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		prepare func(*site)
		content string
		reason  string
		output  string
		file    string // meanwhile
		again   bool   // an exec of the current version runs in the end
	}{
		"check": {prepare: func(s *site) {
			s.config.Targets[0].Check = s.command(`echo check >>"$0"; echo bad; test ! -e "$1"; grep one {file}`)
		}, content: "two\n", reason: "check", output: "bad", file: "one\n"},
		"exec": {prepare: func(s *site) {
			s.config.Targets[0].Exec = s.command(`echo exec >>"$0"; echo bad; test $KVEXPRESS_VERSION = 1`)
			s.config.Targets[0].RestoreOnFailure = false
		}, content: "two\n", reason: "exec", output: "bad", file: "two\n", again: true},
		"exec, restored": {prepare: func(s *site) {
			s.config.Targets[0].Exec = s.command(`echo exec >>"$0"; echo bad; test $KVEXPRESS_VERSION = 1`)
		}, content: "two\n", reason: "exec", output: "bad", file: "one\n"},
		"exec, in place": {prepare: func(s *site) {
			s.config.Targets[0].Exec = s.command(`echo exec >>"$0"; echo bad; test $KVEXPRESS_VERSION = 1`)
			s.config.Targets[0].RestoreOnFailure, s.config.Targets[0].InPlace = false, true
		}, content: "two\n", reason: "exec", output: "bad", file: "two\n", again: true},
		"exec of a group": {prepare: func(s *site) {
			s.config.Targets[0].Exec = s.command(`echo exec >>"$0"; echo bad; test $KVEXPRESS_VERSION = 1`)
			s.config.Targets[0].RestoreOnFailure, s.config.Targets[0].ExecEvery = false, time.Second
		}, content: "two\n", reason: "exec", output: "bad", file: "two\n", again: true},
		"probe": {prepare: func(s *site) {
			s.config.Targets[0].Probe = s.command(`echo bad; exit 1`)
		}, content: "two\n", reason: "probe", output: "bad", file: "two\n", again: true},
		"content": {prepare: func(s *site) {
			s.config.Targets[0].MinLines = 1
		}, content: "", reason: "content", file: "one\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rolloutTest(t, 1, c.prepare, func(t *testing.T, s *site, hub *fakeHub) {
				if c.content == "" {
					o := s.candidateOf("k0", "r1", "two\n")
					e := o.rows["data"]
					e.Value = []byte("other\n")
					o.rows["data"] = e
					hub.mu.Lock()
					hub.offers = map[kv.Key]offered{"k0": o}
					hub.mu.Unlock()
					hub.push("k0")
				} else {
					hub.offer("k0", "r1", c.content)
				}
				pass(30 * time.Second)
				failed := hub.says(rollout.Failed)
				if failed.Reason != c.reason || strings.TrimSpace(failed.Output) != c.output || failed.Detail == "" {
					t.Errorf("%+v", failed)
				}
				s.holds(0, c.file)
				ran, asked := s.ran(), hub.asked()
				hub.push("k0")
				s.agent.running[0].wake()
				pass(10 * time.Minute)
				if got := s.ran(); !slices.Equal(got, ran) {
					t.Errorf("it ran %q, and then %q", ran, got)
				}
				if n := hub.asked() - asked; n > 1 {
					t.Errorf("it asked the hub %d times", n)
				}
				if last := hub.says(rollout.Failed); last != failed {
					t.Errorf("it said %+v, and then %+v", failed, last)
				}
				got := s.agent.Status().Targets[0]
				if got.Candidate == nil || got.Candidate.Reason != c.reason || got.Exec.Retry != nil {
					t.Errorf("%+v", got)
				}
				hub.withdraw("k0")
				pass(10 * time.Second)
				hub.says(rollout.Back)
				s.holds(0, "one\n")
				if got := len(s.ran()) - len(ran); got != 1 && c.again || got > 0 && !c.again {
					t.Errorf("%d execs on the way back", got)
				}
				if got = s.agent.Status().Targets[0]; got.Outcome != outcome.Converged || got.Candidate != nil {
					t.Errorf("%+v", got)
				}
			})
		})
	}
}

// A lock or a stop freezes a candidate, and the end of it goes on.
func TestCandidateFrozen(t *testing.T) {
	t.Parallel()
	rolloutTest(t, 1, nil, func(t *testing.T, s *site, hub *fakeHub) {
		hub.offer("k0", "r1", "two\n")
		hub.says(rollout.Healthy)
		s.lock(0, "maintenance")
		hub.push("k0")
		hub.says(rollout.Frozen)
		hub.withdraw("k0")
		pass(3 * time.Second)
		s.holds(0, "two\n")
		s.unlock(0)
		hub.push("k0")
		hub.says(rollout.Back)
		s.holds(0, "one\n")
	})
	rolloutTest(t, 1, nil, func(t *testing.T, s *site, hub *fakeHub) {
		s.lock(0, "maintenance")
		hub.push("k0")
		hub.offer("k0", "r1", "two\n")
		hub.says(rollout.Frozen)
		s.holds(0, "one\n")
		s.unlock(0)
		hub.push("k0")
		hub.says(rollout.Healthy)
		s.holds(0, "two\n")
	})
}

// All targets of a key make one report.
func TestCandidateOfTwoTargets(t *testing.T) {
	t.Parallel()
	rolloutTest(t, 2, func(s *site) {
		s.config.Targets[1].Key = "k0"
		s.config.Targets[1].Exec = s.command(`test ! -e "$(dirname "$0")/bad"`)
	}, func(t *testing.T, s *site, hub *fakeHub) {
		hub.offer("k0", "r1", "two\n")
		hub.says(rollout.Healthy)
		hub.withdraw("k0")
		hub.says(rollout.Back)
		s.mark("bad")
		hub.offer("k0", "r2", "three\n")
		if last := hub.says(rollout.Failed); last.Rollout != "r2" {
			t.Errorf("%+v", last)
		}
	})
}

// An agent that restarts says which candidate it has, and reports on it, or goes back.
func TestCandidateRestart(t *testing.T) { // not parallel: a child of another test could hold the lock of the state for a moment
	for _, reverted := range []bool{false, true} {
		rolloutTest(t, 1, nil, func(t *testing.T, s *site, hub *fakeHub) {
			hub.offer("k0", "r1", "two\n")
			hub.says(rollout.Healthy)
			s.end()
			if reverted {
				hub.withdraw("k0")
			}
			s.begin()
			pass(100 * time.Millisecond)
			hellos, _ := hub.greeted()
			if last := hellos[len(hellos)-1].Targets[0]; last.Rollout != "r1" {
				t.Errorf("%+v", last)
			}
			if reverted {
				hub.says(rollout.Back)
				s.holds(0, "one\n")
				return
			}
			hub.says(rollout.Healthy)
			s.holds(0, "two\n")
			if got := s.ran(); len(got) != 1 {
				t.Errorf("%q", got)
			}
		})
	}
}

// The first failure of a candidate is final for an agent that starts anew, too, although everything would work now.
func TestCandidateFailsRestart(t *testing.T) { // not parallel: a child of another test could hold the lock of the state for a moment
	once := `echo ran >>"$0"; test -e "$(dirname "$0")/mended" || test "${KVEXPRESS_VERSION:-2}" = 1`
	for reason, prepare := range map[string]func(*config.Target, []string){
		"check": func(c *config.Target, once []string) { c.Check = once },
		"exec":  func(c *config.Target, once []string) { c.Exec, c.RestoreOnFailure = once, false },
		"group": func(c *config.Target, once []string) {
			c.Exec, c.RestoreOnFailure, c.ExecEvery = once, false, time.Second
		},
		"restored": func(c *config.Target, once []string) { c.Exec = once },
		"probe":    func(c *config.Target, once []string) { c.Exec, c.Probe = nil, once },
	} {
		rolloutTest(t, 1, func(s *site) { prepare(&s.config.Targets[0], s.command(once)) }, func(t *testing.T, s *site, hub *fakeHub) {
			hub.offer("k0", "r1", "two\n")
			pass(30 * time.Second)
			failed, ran := hub.says(rollout.Failed), s.ran()
			s.end()
			s.mark("mended")
			s.begin()
			pass(10 * time.Minute)
			if again := hub.says(rollout.Failed); again.Reason != failed.Reason || again.Detail != failed.Detail || len(s.ran()) != len(ran) {
				t.Errorf("%s: it said %+v, and after its restart %+v; it ran %q", reason, failed, again, s.ran())
			}
			if c := s.agent.Status().Targets[0]; c.Outcome == outcome.Starting || c.Candidate == nil || c.Candidate.Reason != failed.Reason {
				t.Errorf("%s: its status is %+v, %+v", reason, c, c.Candidate)
			}
			hub.withdraw("k0")
			pass(10 * time.Second)
			hub.says(rollout.Back)
			s.holds(0, "one\n")
			hub.offer("k0", "r2", "two\n")
			pass(10 * time.Second)
			hub.says(rollout.Healthy)
			s.holds(0, "two\n")
		})
	}
}

// A node whose hubs are gone asks the store, and keeps a candidate while its rollout is open.
func TestCandidateWithoutHubs(t *testing.T) {
	t.Parallel()
	rolloutTest(t, 1, nil, func(t *testing.T, s *site, hub *fakeHub) {
		s.row("r1", "two\n", rollout.Running)
		hub.offer("k0", "r1", "two\n")
		hub.says(rollout.Healthy)
		hub.cut()
		pass(5 * time.Minute)
		s.agent.running[0].wake()
		pass(time.Second)
		if st := s.agent.Status(); !st.Hub.Direct || st.Targets[0].Outcome != outcome.Converged || st.Targets[0].Candidate == nil {
			t.Errorf("%+v", st.Targets[0])
		}
		s.holds(0, "two\n")
		s.row("r1", "two\n", rollout.Reverting)
		s.agent.running[0].wake()
		pass(time.Second)
		s.holds(0, "one\n")
		hub.down.Store(false)
		pass(time.Minute)
		s.holds(0, "two\n") // the fake hub offers it still
	})
}

// After a restart without hubs, an exec that failed for a candidate does not run again.
func TestCandidateExecWithoutHubs(t *testing.T) { // not parallel: a child of another test could hold the lock of the state for a moment
	rolloutTest(t, 1, func(s *site) {
		c := &s.config.Targets[0]
		c.Exec, c.RestoreOnFailure, c.ExecEvery = s.command(`echo exec >>"$0"; test $KVEXPRESS_VERSION = 1`), false, time.Second
	}, func(t *testing.T, s *site, hub *fakeHub) {
		s.row("r1", "two\n", rollout.Running)
		hub.offer("k0", "r1", "two\n")
		pass(5 * time.Second)
		hub.says(rollout.Failed)
		s.end()
		hub.cut()
		s.begin()
		pass(10 * time.Minute)
		s.holds(0, "two\n")
		if got := s.ran(); len(got) != 1 {
			t.Errorf("%q", got)
		}
	})
}

// A check that runs ends when its candidate is withdrawn; an exec has its time.
func TestCandidateWithdrawn(t *testing.T) {
	t.Parallel()
	run := func(name string, prepare func(*site), execs string) {
		rolloutTest(t, 1, prepare, func(t *testing.T, s *site, hub *fakeHub) {
			hub.offer("k0", "r1", "two\n")
			for len(s.ran()) == 0 { // a command runs, so no time passes in the bubble
				if _, err := command.Run(context.Background(), command.Command{Argv: []string{"sleep", "0.05"}}); err != nil {
					t.Fatal(err)
				}
			}
			hub.withdraw("k0")
			if _, err := command.Run(context.Background(), command.Command{Argv: []string{"sleep", "0.1"}}); err != nil {
				t.Fatal(err)
			}
			if all := hub.said(); execs != "check" && slices.ContainsFunc(all, func(h wire.Health) bool { return h.State == "back" }) {
				t.Errorf("its exec runs, and it is back: %+v", all)
			}
			s.mark("go")
			pass(3 * time.Second) // a process group has its grace
			hub.says(rollout.Back)
			s.holds(0, "one\n")
			if got := strings.Join(s.ran(), " "); got != execs {
				t.Errorf("%s: it ran %s, want %s", name, got, execs)
			}
		})
	}
	run("check", func(s *site) {
		s.config.Targets[0].Check = s.command(`grep -q one {file} && exit; echo check >>"$0"; exec sleep 600`)
	}, "check")
	run("exec", func(s *site) {
		s.config.Targets[0].Exec = s.command(`echo v$KVEXPRESS_VERSION >>"$0"; [ $KVEXPRESS_VERSION = 1 ] || until [ -e "$(dirname "$0")/go" ]; do sleep 0.05; done`)
	}, "v2 v1")
}

// The status has no output and no command line of a candidate's failure.
func TestCandidateStatusIsPublic(t *testing.T) {
	t.Parallel()
	rolloutTest(t, 1, func(s *site) {
		s.config.Output = false
		s.config.Targets[0].Exec = s.command(`echo secret; test $KVEXPRESS_VERSION = 1`)
	}, func(t *testing.T, s *site, hub *fakeHub) {
		hub.offer("k0", "r1", "two\n")
		last := hub.says(rollout.Failed)
		public, err := json.Marshal(s.agent.Status().Public())
		if err != nil {
			t.Fatal(err)
		}
		if text := last.Output + last.Detail + string(public); strings.Contains(text, "secret") {
			t.Errorf("%s", text)
		}
	})
}
