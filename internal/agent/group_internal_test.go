package agent

import (
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"kvexpress/internal/command"
	"kvexpress/internal/deliver"
)

// While the exec of a group ran, a delivery waited for the file, and it puts the next version in place before the group
// tells what became of its run. That was for the version before: the exec is still owed. Taken out: the look at who owes
// it again; then the target counts as current, and its receipt says so, before anything ran for what is in place.
func TestGroupRanForTheVersionBefore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := slog.New(slog.DiscardHandler)
		g := newGroup(nil, patience, log)
		r := &target{group: g, pace: patience, log: log, news: make(chan struct{}, 1)}
		r.status.Exec = &ExecStatus{}
		installed := func(version uint64, sha256 string) {
			r.record(deliver.Result{Outcome: deliver.Installed, Owed: true, Version: version, SHA256: sha256}, nil, time.Now())
		}
		ran := func() { r.groupRan(&command.Result{}, deliver.OwedResult{Ran: true}, nil) }
		taken := func() {
			t.Helper()
			if all := g.gather(t.Context()); len(all) != 1 || all[0] != r {
				t.Fatalf("the group takes %v", all)
			}
		}
		wants := func(state State, owed bool, ok uint64) {
			t.Helper()
			said := r.tale()
			if s := r.snapshot(); s.State != state || s.Exec.Owed != owed || s.Counts.ExecOK != ok || said.State != string(state) ||
				said.Owed != owed {
				t.Errorf("it is %s, owed %v, after %d runs; its receipt says %s, owed %v", s.State, s.Exec.Owed, s.Counts.ExecOK,
					said.State, said.Owed)
			}
		}
		installed(1, "one")
		taken()
		installed(2, "two")
		ran()
		wants(Owed, true, 1)
		taken()
		ran()
		wants(Current, false, 2)
	})
}
