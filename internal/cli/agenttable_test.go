package cli

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/agent"
)

// agentNow is when the tests look, in a zone of its own.
func agentNow() time.Time {
	return time.Date(2026, 3, 1, 14, 7, 11, 0, time.FixedZone("here", 3600))
}

func before(d time.Duration) *time.Time {
	at := agentNow().Add(-d).UTC()
	return &at
}

const day = 24 * time.Hour

// manyStates is a status with a target in every state.
func manyStates() agent.Status {
	sum := func(c string) string { return strings.Repeat(c, 64) }
	return agent.Status{
		Version: "2.0.0", Node: "web-17", PID: 4711, Started: *before(3*day + 4*time.Hour + time.Minute),
		Store: agent.StoreStatus{Addr: "127.0.0.1:8500", Up: true, Since: before(3 * time.Hour)},
		Targets: []agent.TargetStatus{
			{Key: "hosts", File: "/etc/hosts.consul", State: agent.Current, Since: before(2 * day), Version: 57, SHA256: sum("a"),
				Detail: "not to be shown", Exec: &agent.ExecStatus{Last: before(2 * day)}},
			{Key: "team/app/flags", File: "/srv/app/flags.json", State: agent.Current, Since: before(26 * time.Hour), SHA256: sum("b")},
			{Key: "old", File: "/f1", State: agent.Current, Since: before(61 * time.Minute), Version: 3, SHA256: sum("c"), Exec: &agent.ExecStatus{}},
			{Key: "k2", File: "/f2", State: agent.Starting, Since: before(time.Second), Exec: &agent.ExecStatus{}},
			{Key: "k3", File: "/f3", State: agent.Waiting, Since: before(12 * time.Second), Version: 1, SHA256: sum("d"), Detail: "a new version is installed in 18s"},
			{Key: "k4", File: "/f4", State: agent.Stopped, Since: before(192 * time.Second), Version: 1, SHA256: sum("d"), Detail: `k4 is stopped: "bad upstream"`},
			{Key: "k5", File: "/f5", State: agent.Locked, Since: before(0), Version: 1, SHA256: sum("d"), Detail: `/f5 is locked: "testing"`},
			{Key: "k6", File: "/f6", State: agent.Missing, Since: before(time.Minute), Detail: "k6: there is no such key in the store"},
			{Key: "k7", File: "/f7", State: agent.Denied, Since: before(time.Minute), Detail: "permission denied"},
			{Key: "k8", File: "/f8", State: agent.Refused, Since: before(time.Minute), Reason: "too_short", Version: 9, SHA256: sum("e"), Detail: "k8 is refused: it has 3 lines"},
			{Key: "k9", File: "/f9", State: agent.Older, Since: before(time.Minute), Version: 9, SHA256: sum("e"), Detail: "the store went back"},
			{Key: "k10", File: "/f10", State: agent.Owed, Since: before(time.Minute), Version: 9, SHA256: sum("e"), Detail: "the exec failed",
				Exec: &agent.ExecStatus{Owed: true, Failures: 3, Exit: 7, Last: before(time.Minute), Retry: before(-75 * time.Second)}},
			{Key: "k11", File: "/f11", State: agent.Owed, Version: 9, SHA256: sum("e"), Exec: &agent.ExecStatus{Owed: true, Failures: 1, Exit: -1, Last: before(0), Retry: before(time.Second)}},
			{Key: "k12", File: "/f12", State: agent.Owed, Version: 9, SHA256: sum("e"), Exec: &agent.ExecStatus{Owed: true}},
			{Key: "k13", File: "/f13", State: agent.Failed, Since: before(time.Minute), Version: 9, SHA256: sum("e"), Detail: "no space left on device",
				Exec: &agent.ExecStatus{Failures: 1, Exit: 2, Last: before(90 * time.Minute)}},
			{Key: "k14", File: "/f14", State: agent.Away, Since: before(-time.Hour), Version: 9, SHA256: sum("e"), Detail: "connection refused"},
			{Key: "k15", File: "/f15", State: "levitating", Since: before(400 * day), Version: 18446744073709551615, SHA256: "short"},
		},
	}
}

// Each target has its line, in columns that line up, and below it why it is not current.
func TestAgentTable(t *testing.T) {
	r := agentReport{Status: manyStates(), now: agentNow()}
	lines := r.lines()
	file := strings.Index(lines[2], "FILE")
	rest := lines[3:]
	for i, want := range []string{
		`^hosts +/etc/hosts.consul +current +57 +a{12} +2d +.*2d`,
		`^team/app/flags +/srv/app/flags.json +current +unmanaged +b{12} +1d2h +-$`,
		`^old +/f1 +current +3 +c{12} +1h1m +done$`,
		`^k2 +/f2 +starting +- +- +1s +-$`,
		`^k3 +/f3 +waiting +1 +d{12} +12s +-$`,
		`^k4 +/f4 +stopped +1 +d{12} +3m12s +-$`,
		`^k5 +/f5 +locked +1 +d{12} +0s +-$`,
		`^k6 +/f6 +missing +- +- +1m +-$`,
		`^k7 +/f7 +denied +- +- +1m +-$`,
		`^k8 +/f8 +refused +9 +e{12} +1m +-$`,
		`^k9 +/f9 +older +9 +e{12} +1m +-$`,
		`^k10 +/f10 +owed +9 +e{12} +1m +.*7.* 3 .*1m15s`,
		`^k11 +/f11 +owed +9 +e{12} +- +killed.*now`,
		`^k12 +/f12 +owed +9 +e{12} +- +\w+$`,
		`^k13 +/f13 +failed +9 +e{12} +1m +.*2 1h30m`,
		`^k14 +/f14 +away +9 +e{12} +0s +-$`,
		`^k15 +/f15 +levitating +18446744073709551615 +short +400d +-$`,
	} {
		if len(rest) == 0 || !regexp.MustCompile(want).MatchString(rest[0]) || rest[0][file] != '/' {
			t.Fatalf("there is no %s in column %d at %q", want, file, rest)
		}
		rest = rest[1:]
		if target := r.Targets[i]; target.Detail != "" && target.State != agent.Current {
			if len(rest) == 0 || rest[0] != "    "+target.Detail {
				t.Fatalf("there is no %q at %q", target.Detail, rest)
			}
			rest = rest[1:]
		}
	}
	if len(rest) > 0 {
		t.Errorf("left are %q", rest)
	}
}

func TestAgentHeadlines(t *testing.T) {
	s := agent.Status{Version: "2.0.0", Node: "web-17", Started: *before(90 * time.Second)}
	for want, tt := range map[string]struct {
		store  agent.StoreStatus
		config agent.ConfigStatus
	}{
		`^[^\n]*c:8500 [^0-9\n]+\n[^\n]+$`:              {store: agent.StoreStatus{Addr: "c:8500"}},
		`^[^\n]*c:8500 [^0-9\n]+no route\n[^\n]+$`:      {store: agent.StoreStatus{Addr: "c:8500", Error: "no route"}},
		`c:8500 away .*14:02:11 \(5m\).*connection ref`: {store: agent.StoreStatus{Addr: "c:8500", Since: before(5 * time.Minute), Error: "connection refused"}},
		`c:8500 away .*2026-02-28 14:07:11 \(1d\)`:      {store: agent.StoreStatus{Addr: "c:8500", Since: before(day)}},
		`c:8500 up [^:]*0s\n.*13:07:11.*agent.yml:3: file is missing\n`: {
			agent.StoreStatus{Addr: "c:8500", Up: true, Since: before(0), Error: "of before"},
			agent.ConfigStatus{Loaded: *before(time.Hour), Error: "agent.yml:3: file is missing"},
		},
	} {
		s.Store, s.Config = tt.store, tt.config
		r := agentReport{Status: s, now: agentNow()}
		got := strings.Join(r.lines(), "\n")
		if !regexp.MustCompile(want).MatchString(got) || !regexp.MustCompile(`^web-17: .*2\.0\.0.* 1m30s`).MatchString(got) {
			t.Errorf("got\n%s\nwant %s", got, want)
		}
	}
}

// While the store is away, why is said once, and not for each of many targets.
func TestAgentTableSaysOnceThatTheStoreIsAway(t *testing.T) {
	const why = "connection refused"
	s := agent.Status{Node: "web-17", Store: agent.StoreStatus{Since: before(0), Error: why}}
	for range 3 {
		s.Targets = append(s.Targets, agent.TargetStatus{Key: "hosts", File: "/f", State: agent.Away, Detail: why})
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
		Store:   agent.StoreStatus{Addr: evil, Since: at, Error: evil},
		Targets: []agent.TargetStatus{{Key: evil, File: evil, State: evil, Since: at, SHA256: evil, Detail: evil, Lineage: evil, Reason: evil, Exec: &agent.ExecStatus{Last: at}}},
	}
	for _, colour := range []bool{false, true} {
		r := agentReport{Status: s, now: agentNow(), colour: colour}
		lines := r.lines()
		if len(lines) != 6 { // head, reload, blank, head of the table, target, detail
			t.Errorf("%d lines", len(lines))
		}
		for _, line := range lines {
			for _, code := range []string{red, green, yellow, "0"} {
				line = strings.ReplaceAll(line, "\x1b["+code+"m", "")
			}
			if plain := printable(line); plain != line {
				t.Errorf("not printable: %q", line)
			}
		}
	}
}

// Colours change nothing but colours.
func TestAgentTableColours(t *testing.T) {
	plain := agentReport{Status: manyStates(), now: agentNow()}
	coloured := agentReport{Status: manyStates(), now: agentNow(), colour: true}
	text := strings.Join(coloured.lines(), "\n")
	for _, want := range []string{"\x1b[32mup for 3h\x1b[0m", "\x1b[32mcurrent\x1b[0m", "\x1b[33mstopped\x1b[0m", "\x1b[33mstarting\x1b[0m", "\x1b[31mrefused\x1b[0m", "\x1b[31mlevitating\x1b[0m"} {
		if !strings.Contains(text, want) {
			t.Errorf("there is no %q in\n%q", want, text)
		}
	}
	for _, code := range []string{red, green, yellow, "0"} {
		text = strings.ReplaceAll(text, "\x1b["+code+"m", "")
	}
	if want := strings.Join(plain.lines(), "\n"); text != want {
		t.Errorf("without its colours it is\n%s\nwant\n%s", text, want)
	}
}

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Hour: "0s", 0: "0s", 999 * time.Millisecond: "0s", 59*time.Second + 999*time.Millisecond: "59s", time.Minute: "1m", 192 * time.Second: "3m12s",
		time.Hour: "1h", time.Hour + 59*time.Second: "1h", 23*time.Hour + 59*time.Minute: "23h59m", 2 * day: "2d", 2*day + 3*time.Hour: "2d3h", 2*day + 59*time.Minute: "2d",
	} {
		if got := span(d); got != want {
			t.Errorf("%s is %q, want %q", d, got, want)
		}
	}
}
