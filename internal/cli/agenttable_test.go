package cli

import (
	"math"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/agent"
	"kvexpress/internal/cli/render"
	"kvexpress/internal/fleet"
	"kvexpress/internal/outcome"
	"kvexpress/internal/rollout"
)

// agentNow is the current time in the tests, in a zone of its own.
func agentNow() time.Time {
	return time.Date(2026, 3, 1, 14, 7, 11, 0, time.FixedZone("here", 3600))
}

func before(d time.Duration) *time.Time {
	at := agentNow().Add(-d).UTC()
	return &at
}

const day = 24 * time.Hour

// Each target has a row with its state, and below it why that is not good. The columns
// line up, and colours change nothing but colours.
func TestAgentTable(t *testing.T) {
	sum := strings.Repeat("e", 64)
	pending := func(failures, exit int, retry *time.Time) *agent.ExecStatus {
		return &agent.ExecStatus{Pending: true, Failures: failures, Exit: exit, Last: before(time.Minute), Retry: retry}
	}
	s := agent.Status{Version: "2.0.0", Node: "web-17", Started: *before(3*day + 4*time.Hour),
		Store: agent.StoreStatus{Addr: "127.0.0.1:8500", Up: true, Since: before(3 * time.Hour)}, Contact: before(0)}
	var want []string
	for _, row := range []struct {
		t    agent.TargetStatus
		want string // after the key and the file
	}{
		{agent.TargetStatus{Outcome: outcome.Converged, Version: 57, SHA256: sum, Detail: "not to be shown",
			Exec: &agent.ExecStatus{Last: before(2 * day)}}, "converged 57 eeeeeeeeeeee 26h done 2d ago"},
		{agent.TargetStatus{Outcome: outcome.Converged, SHA256: sum}, "converged unmanaged eeeeeeeeeeee 26h -"},
		{agent.TargetStatus{Outcome: outcome.Converged, SHA256: sum, Polled: true}, "converged, polled unmanaged eeeeeeeeeeee 26h -"},
		{agent.TargetStatus{Outcome: outcome.Converged, Version: 3, SHA256: "short", Exec: &agent.ExecStatus{}}, "converged 3 short 26h done"},
		{agent.TargetStatus{Outcome: outcome.Converged, Version: 58, SHA256: sum,
			Candidate: &agent.CandidateStatus{Rollout: "r1", InPlace: true, State: rollout.Failed, Reason: "probe", Detail: "exit status 1"}},
			"converged, candidate 58 eeeeeeeeeeee 26h - candidate of rollout r1: failed (probe): exit status 1"},
		{agent.TargetStatus{Outcome: outcome.Converged, Version: 3, SHA256: sum, Waits: "process 7 (vim)"},
			"converged 3 eeeeeeeeeeee 26h - waiting for process 7 (vim), which has locked the file"},
		{agent.TargetStatus{Outcome: outcome.Starting, Exec: &agent.ExecStatus{}}, "starting - - 26h -"},
		{agent.TargetStatus{Outcome: outcome.Stopped, Version: 1, SHA256: sum, Detail: "bad upstream"},
			"stopped 1 eeeeeeeeeeee 26h - bad upstream"},
		{agent.TargetStatus{Outcome: outcome.Refused, Version: 1, SHA256: sum, Detail: "3 lines"}, "refused 1 eeeeeeeeeeee 26h - 3 lines"},
		{agent.TargetStatus{Outcome: outcome.Pending, Version: 9, SHA256: sum, Exec: pending(3, 7, before(-75*time.Second))},
			"pending 9 eeeeeeeeeeee 26h exit 7, failed 3 times, retrying in 1m15s"},
		{agent.TargetStatus{Outcome: outcome.Pending, Version: 9, SHA256: sum, Exec: pending(1, -1, before(time.Second))},
			"pending 9 eeeeeeeeeeee 26h killed, retrying in 0s"},
		{agent.TargetStatus{Outcome: outcome.Pending, Version: 9, SHA256: sum, Exec: pending(0, 0, nil)}, "pending 9 eeeeeeeeeeee 26h pending"},
		{agent.TargetStatus{Outcome: outcome.Failed, Version: 9, SHA256: sum, Exec: &agent.ExecStatus{Failures: 1, Exit: 2,
			Last: before(90 * time.Minute)}}, "failed 9 eeeeeeeeeeee 26h exit 2 1h30m ago"},
		{agent.TargetStatus{Outcome: "levitating", Version: math.MaxUint64, SHA256: sum},
			"levitating 18446744073709551615 eeeeeeeeeeee 26h -"},
	} {
		row.t.Key, row.t.File, row.t.Since = "team/app/flags", "/etc/f", before(26*time.Hour)
		s.Targets = append(s.Targets, row.t)
		want = append(want, "team/app/flags /etc/f "+strings.ReplaceAll(row.want, "26h", "1d2h"))
	}
	lines := (&agentReport{Status: s, now: agentNow()}).lines()
	got := strings.Join(strings.Fields(strings.Join(lines[3:], " ")), " ")
	if got != strings.Join(want, " ") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
	if at := strings.Index(lines[2], "EXEC"); strings.Index(lines[3], "done 2d ago") != at || strings.Index(lines[4], " -")+1 != at {
		t.Errorf("it does not line up:\n%s", strings.Join(lines[2:5], "\n"))
	}
	coloured := strings.Join((&agentReport{Status: s, now: agentNow(), colour: true}).lines(), "\n")
	for _, want := range []string{"\x1b[32mup for 3h\x1b[0m", "\x1b[32mconverged\x1b[0m", "\x1b[33mstopped\x1b[0m",
		"\x1b[33mstarting\x1b[0m", "\x1b[31mrefused\x1b[0m", "\x1b[31mlevitating\x1b[0m"} {
		if !strings.Contains(coloured, want) {
			t.Errorf("there is no %q in\n%q", want, coloured)
		}
	}
	for _, code := range []string{render.Red, render.Green, render.Yellow, "0"} {
		coloured = strings.ReplaceAll(coloured, "\x1b["+code+"m", "")
	}
	if coloured != strings.Join(lines, "\n") {
		t.Errorf("without its colours it is\n%s", coloured)
	}
}

func TestAgentHeadlines(t *testing.T) {
	for _, tt := range []struct {
		store  agent.StoreStatus
		config agent.ConfigStatus
		hub    *agent.HubStatus
		want   string
	}{
		{hub: &agent.HubStatus{Addr: "a:1", Since: before(5 * time.Minute), Age: fleet.Millis(3 * time.Second)},
			want: "hub a:1 connected for 5m, it read the store 3s ago"},
		{hub: &agent.HubStatus{Error: "connection refused"}, want: "no hub is connected: connection refused"},
		{store: agent.StoreStatus{Addr: "c:8500", Up: true, Since: before(5 * time.Minute)},
			hub:  &agent.HubStatus{Error: "connection refused", Direct: true},
			want: "no hub is connected: connection refused; asking the store itself: store c:8500 up for 5m"},
		{agent.StoreStatus{Error: "no route"}, agent.ConfigStatus{}, nil, "has not answered yet: no route"},
		{agent.StoreStatus{Since: before(5 * time.Minute), Error: "connection refused"}, agent.ConfigStatus{}, nil,
			"unreachable for 5m: connection refused"},
		{agent.StoreStatus{Up: true, Since: before(0), Error: "of before"},
			agent.ConfigStatus{Loaded: *before(time.Hour), Error: "agent.yml:3: bad"}, nil,
			"up for 0s\nthe last reload was refused; the configuration from 1h ago is in force: agent.yml:3: bad"},
	} {
		r := agentReport{Status: agent.Status{Node: "web-17", Started: *before(90 * time.Second), Store: tt.store, Config: tt.config, Hub: tt.hub},
			now: agentNow()}
		if got := strings.Join(r.lines(), "\n"); !strings.HasPrefix(got, "web-17: agent ") ||
			!strings.HasSuffix(got, tt.want+"\nno targets") {
			t.Errorf("got\n%s\nwant\n%s", got, tt.want)
		}
	}
}

// While the store is unreachable, the table says why once, not for each target.
func TestAgentTableSaysOnceThatTheStoreIsAway(t *testing.T) {
	const why = "connection refused"
	s := agent.Status{Node: "web-17", Store: agent.StoreStatus{Since: before(0), Error: why}}
	for range 3 {
		s.Targets = append(s.Targets, agent.TargetStatus{Key: "hosts", File: "/f", Outcome: outcome.Unreachable, Detail: why})
	}
	r := agentReport{Status: s, now: agentNow()}
	if text := strings.Join(r.lines(), "\n"); strings.Count(text, why) != 1 {
		t.Errorf("got\n%s", text)
	}
}

// What comes from outside can neither move the cursor nor feign a line.
func TestAgentTableIsPrintable(t *testing.T) {
	const evil = "x\x1b[2J\r\nweb-17: agent 2.0.0\u202e\u009b31m\x00\xff"
	at := before(time.Minute)
	s := agent.Status{
		Version: evil, Node: evil, Config: agent.ConfigStatus{Error: evil},
		Store: agent.StoreStatus{Addr: evil, Since: at, Error: evil}, Hub: &agent.HubStatus{Error: evil, Direct: true},
		Targets: []agent.TargetStatus{{Key: evil, File: evil, Outcome: evil, Since: at, SHA256: evil, Detail: evil, Lineage: evil,
			Reason: evil, Exec: &agent.ExecStatus{Last: at}}},
	}
	for _, colour := range []bool{false, true} {
		r := agentReport{Status: s, now: agentNow(), colour: colour}
		lines := r.lines()
		if len(lines) != 7 { // head, contact, reload, blank, head of the table, target, detail
			t.Errorf("%d lines", len(lines))
		}
		for _, line := range lines {
			for _, code := range []string{render.Red, render.Green, render.Yellow, "0"} {
				line = strings.ReplaceAll(line, "\x1b["+code+"m", "")
			}
			if plain := render.Line(line); plain != line {
				t.Errorf("not printable: %q", line)
			}
		}
	}
}

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Hour: "0s", 0: "0s", 999 * time.Millisecond: "0s", 59*time.Second + 999*time.Millisecond: "59s", time.Minute: "1m",
		192 * time.Second: "3m12s",
		time.Hour:         "1h", time.Hour + 59*time.Second: "1h", 23*time.Hour + 59*time.Minute: "23h59m", 2 * day: "2d", 2*day +
			3*time.Hour: "2d3h", 2*day + 59*time.Minute: "2d",
	} {
		if got := render.Span(d); got != want {
			t.Errorf("%s is %q, want %q", d, got, want)
		}
	}
}
