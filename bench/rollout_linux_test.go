package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/record"
	"kvexpress/internal/rollout"
	"kvexpress/internal/testutil/consultest"
)

// staged is a fleet behind a hub, whose key gets policies.
type staged struct {
	*running
	t      tools
	server *consultest.Server
}

// newStaged starts agents that report, in one process.
func newStaged(b *testing.B, t tools, nodes int, change func(*site)) *staged {
	b.Helper()
	server := consultest.Start(b)
	c := comparison{nodes: nodes, pause: time.Second, change: change}
	return &staged{t.begin(b, hubReporting, server.Addr, c, newPublisher(b, server.Addr)), t, server}
}

// policy sets the policy of the key; "" removes it.
func (s *staged) policy(text string) {
	s.b.Helper()
	args := []string{"policy", "rm", "-k", string(key), "-s", s.site.Addr, "-p", prefix}
	if text != "" {
		file := filepath.Join(s.site.Base, "policy.yml")
		write(s.b, file, []byte(text))
		args = []string{"policy", "set", "-k", string(key), "-f", file, "-s", s.site.Addr, "-p", prefix}
	}
	run(s.b, s.t.kvexpress, args...)
}

// in publishes content, and returns how long `in` ran, in ms, and its exit code.
func (s *staged) in(content []byte, more ...string) (took float64, code int, said string) {
	s.b.Helper()
	file := filepath.Join(s.site.Base, "new")
	write(s.b, file, content)
	args := append([]string{"in", "-k", string(key), "-f", file, "-s", s.site.Addr, "-p", prefix, "--hub", s.site.Hub}, more...)
	ctx, cancel := context.WithTimeout(s.b.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.t.kvexpress, args...)
	began := time.Now()
	out, err := cmd.CombinedOutput()
	took = ms(time.Since(began))
	if cmd.ProcessState == nil || ctx.Err() != nil {
		s.b.Fatalf("%v: %v\n%s", args, err, out)
	}
	return took, cmd.ProcessState.ExitCode(), string(out)
}

// good publishes new content, which must reach all nodes, and returns how long `in` ran, in ms.
func (s *staged) good(more ...string) float64 {
	s.b.Helper()
	content := s.pub.content()
	s.seen.expect(content)
	took, code, said := s.in(content, more...)
	if code != 0 {
		s.b.Fatalf("in ended with %d: %s", code, said)
	}
	s.wait()
	return took
}

// BenchmarkRollout: 1,200 agents in one process through one hub, in stages, in one stage, and at once.
func BenchmarkRollout(b *testing.B) {
	nodes, blocks := number(b, nodesEnv, 1200), number(b, roundsEnv, 7)
	s := newStaged(b, buildTools(b, hubReporting), nodes, nil)
	defer s.end()
	var all, three, one, atOnce []float64
	var cpu, plain spent
	for range blocks {
		s.policy("stages:\n  - {share: 1%, bake: 300ms}\n  - {share: 10%, bake: 300ms}\n  - {share: 100%, bake: 300ms}\n")
		three = append(three, s.good())
		s.policy("stages: [{share: 100%}]\n")
		cpu = cpu.plus(s.used(s.server, func() { one = append(one, s.good()) }))
		s.policy("")
		plain = plain.plus(s.used(s.server, func() { atOnce = append(atOnce, s.good("--wait", "100%")) }))
		all = append(all, one[len(one)-1]/atOnce[len(atOnce)-1])
	}
	n := float64(blocks)
	printFigures(b, fmt.Sprintf("%d nodes, %d rounds", nodes, blocks), []figure{
		{name: "1 %, 10 %, 100 %, bake 0.3 s: in until all are healthy, ms", through: middle(three), limit: "2500"},
		{name: "one stage without bake: the same, ms", direct: middle(atOnce), through: middle(one), limit: "1.3 ×"},
		{name: "the median of the ratios", through: middle(all), limit: "1.3"},
		{name: "CPU of the nodes, ms", direct: ms(plain.nodes) / n, through: ms(cpu.nodes) / n},
		{name: "CPU of the hub, ms", direct: ms(plain.hub) / n, through: ms(cpu.hub) / n},
		{name: "Consul's CPU, ms", direct: ms(plain.consul) / n, through: ms(cpu.consul) / n},
	})
}

// BenchmarkRolloutRestarts: five of 1,200 agents restart in the middle of a rollout, which ends well all the same.
func BenchmarkRolloutRestarts(b *testing.B) {
	nodes, blocks := number(b, nodesEnv, 1200), number(b, roundsEnv, 7)
	s := newStaged(b, buildTools(b, hubReporting), nodes, nil)
	defer s.end()
	s.policy("stages:\n  - {share: 1%, bake: 300ms}\n  - {share: 10%, bake: 300ms}\n  - {share: 100%, bake: 300ms}\n")
	var without, with []float64
	for i := range blocks {
		without = append(without, s.good())
		ctx, cancel := context.WithCancel(b.Context())
		changes := make(chan change, 10_000)
		go s.follow(ctx, changes)
		go func() {
			for c := range changes {
				if r := c.view.Row; r != nil && !r.State.Ended() && r.Stage == i%3 {
					_ = s.fleet.procs[0].Cmd.Process.Signal(restartSignal)
					return
				}
			}
		}()
		with = append(with, s.good())
		cancel()
	}
	printFigures(b, fmt.Sprintf("%d nodes, %d rounds", nodes, blocks), []figure{
		{name: "five agents restart in it: in until all are healthy, ms", direct: middle(without), through: middle(with)},
	})
	log, err := os.ReadFile(s.fleet.log)
	if err != nil {
		b.Fatal(err)
	}
	b.Logf("agents that connected, restarts included: %d", bytes.Count(log, []byte("connected to a hub")))
}

// BenchmarkRolloutFails: a version that fails its check on the first nodes. The times are from the first failure in the log of the
// agents, to the row and to the last file, as seen from outside.
func BenchmarkRolloutFails(b *testing.B) {
	nodes, blocks := number(b, nodesEnv, 1200), number(b, roundsEnv, 7)
	for _, kind := range []string{"check", "probe"} {
		s := newStaged(b, buildTools(b, hubReporting), nodes, func(s *site) {
			bad := `["sh", "-c", "! grep -q ` + badWord + ` {file}"]`
			s.Extra = "    " + kind + ": " + bad + "\n"
			if kind == "probe" {
				s.Extra += "    probe_timeout: 1s\n"
			}
		})
		s.policy("stages:\n  - {share: 1%, bake: 2s}\n  - {share: 100%, bake: 2s}\n")
		var halted, back, outside []float64
		for range blocks {
			h, r, o := s.bad()
			halted, back, outside = append(halted, h), append(back, r), append(outside, float64(o))
		}
		printFigures(b, fmt.Sprintf("%d nodes, %d versions whose %s fails", nodes, blocks, kind), []figure{
			{name: "first failure → reverting, ms", through: middle(halted), limit: "500"},
			{name: "reverting → all nodes back, ms", through: middle(back), limit: "1000"},
		})
		b.Logf("nodes outside the stage that had it, at most: %.0f (limit 0)", quantile(outside, 1))
		s.end()
	}
}

// badWord is what a check or probe refuses.
const badWord = "BADVERSION"

// bad publishes a version that fails, and returns when it was halted after the first failure and when all nodes were back after
// that, in ms, and how many nodes beyond the first stage ever had it.
func (s *staged) bad() (halted, back float64, outside int) {
	s.b.Helper()
	content := append(s.pub.content(), badWord...)
	s.seen.expect(content)
	ctx, cancel := context.WithCancel(s.b.Context())
	defer cancel()
	changes, began := make(chan change, 1000), time.Now()
	go s.follow(ctx, changes)
	if _, code, said := s.in(content); code != 11 {
		s.b.Fatalf("in ended with %d: %s", code, said)
	}
	var failed, reverting, reverted time.Time
	for reverted.IsZero() {
		select {
		case c := <-changes:
			row := c.view.Row
			if row == nil || row.SHA256 != record.Checksum(content) {
				continue
			}
			if len(c.view.Failed) > 0 && failed.IsZero() {
				failed = c.at
			}
			if row.State == rollout.Reverting && reverting.IsZero() {
				reverting = c.at
			}
			if row.State == rollout.Reverted {
				reverted = c.at
			}
		case <-time.After(time.Minute):
			s.b.Fatal("the rollout does not end")
		}
	}
	first := s.firstFailure(began)
	if first.IsZero() || first.After(failed) {
		first = failed
	}
	if reverting.IsZero() {
		reverting = reverted
	}
	admitted := (s.site.Nodes + 99) / 100
	if n := s.seen.count(); n > admitted {
		outside = n - admitted
	}
	return ms(reverting.Sub(first)), ms(reverted.Sub(reverting)), outside
}

// change is what a hub showed at a time.
type change struct {
	at   time.Time
	view rollout.View
}

// follow asks the hub for each change of the rollout.
func (s *staged) follow(ctx context.Context, changes chan<- change) {
	since := uint64(0)
	for ctx.Err() == nil {
		url := "http://" + s.site.Hub + rollout.ViewPath + "?key=" + string(key) + "&wait=10000&since=" + strconv.FormatUint(since, 10)
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return
		}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			continue
		}
		b, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		var c change
		if err != nil || json.Unmarshal(b, &c.view) != nil {
			continue
		}
		c.at, since = time.Now(), c.view.Index
		changes <- c
	}
}

// firstFailure is the time of the first line in the log of the agents, since a time, that says that a candidate failed; zero: none.
func (s *staged) firstFailure(since time.Time) time.Time {
	s.b.Helper()
	text, err := os.ReadFile(s.fleet.log)
	if err != nil {
		s.b.Fatal(err)
	}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		line := lines.Text()
		if !strings.Contains(line, "file stays as it is") && !strings.Contains(line, "probe of a candidate failed") {
			continue
		}
		_, rest, _ := strings.Cut(line, "time=")
		word, _, _ := strings.Cut(rest, " ")
		if at, err := time.Parse(time.RFC3339Nano, word); err == nil && at.After(since) {
			return at
		}
	}
	return time.Time{}
}

// BenchmarkRolloutTens: 300 nodes, ten at a time, with an exec of 50 ms. Each exec notes its begin and its end in one file.
func BenchmarkRolloutTens(b *testing.B) {
	nodes, blocks := number(b, nodesEnv, 300), number(b, roundsEnv, 3)
	var log string
	s := newStaged(b, buildTools(b, hubReporting), nodes, func(s *site) {
		log = filepath.Join(s.Base, "execs")
		s.Extra = "    exec: [sh, -c, \"echo begin >>" + log + "; sleep 0.05; echo end >>" + log + "\"]\n"
	})
	defer s.end()
	var took, alone, most []float64
	for range blocks {
		s.policy("stages: [{share: 100%, max_unavailable: 10}]\n")
		write(b, log, nil)
		took = append(took, s.good())
		most = append(most, float64(together(b, log)))
		s.policy("stages: [{count: 1}, {share: 100%, pause: before}]\n")
		alone = append(alone, s.first())
	}
	printFigures(b, fmt.Sprintf("%d nodes, ten at a time, %d rounds", nodes, blocks), []figure{
		{name: "most execs at once", through: quantile(most, 1), limit: "10"},
		{name: "one node, ms", through: middle(alone)},
		{name: "in until all are healthy, ms", through: middle(took), limit: fmt.Sprintf("%.0f", 2*float64(nodes)/10*middle(alone))},
	})
}

// first is how long the first stage of a rollout takes, which then is aborted.
func (s *staged) first() float64 {
	s.b.Helper()
	content := s.pub.content()
	file := filepath.Join(s.site.Base, "new")
	write(s.b, file, content)
	ctx, cancel := context.WithCancel(s.b.Context())
	defer cancel()
	changes := make(chan change, 1000)
	go s.follow(ctx, changes)
	began := time.Now()
	flags := []string{"-k", string(key), "-s", s.site.Addr, "-p", prefix}
	run(s.b, s.t.kvexpress, append([]string{"in", "-f", file, "--hub", s.site.Hub, "--detach"}, flags...)...)
	for {
		c := <-changes
		if c.view.Row != nil && c.view.Row.SHA256 == record.Checksum(content) && c.view.Row.Stage == 1 {
			run(s.b, s.t.kvexpress, append([]string{"rollout", "abort"}, flags...)...)
			for c.view.Row.State != rollout.Aborted {
				c = <-changes
			}
			return ms(c.at.Sub(began))
		}
	}
}

// together is how many execs ran at once at most.
func together(b *testing.B, log string) (most int) {
	b.Helper()
	text, err := os.ReadFile(log)
	if err != nil {
		b.Fatal(err)
	}
	now := 0
	for _, line := range strings.Fields(string(text)) {
		if line == "begin" {
			now++
			most = max(most, now)
		} else {
			now--
		}
	}
	return most
}
