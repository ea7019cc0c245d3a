package cli

import (
	"os"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// await PATTERN... waits until `kvexpress agent status --json`, for the agent of agent.yml,
// prints each of these texts.
func cmdAwait(ts *testscript.TestScript, neg bool, args []string) {
	usageError(ts, neg || len(args) == 0, "await TEXT...")
	limit := time.NewTimer(time.Minute)
	defer limit.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ts.Exec("kvexpress", "agent", "status", "-C", "agent.yml", "--json")
		status, missing := ts.ReadFile("stdout"), 0
		for _, text := range args {
			if !strings.Contains(status, text) {
				missing++
			}
		}
		if err == nil && missing == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-limit.C:
			ts.Fatalf("the status is never %q; it is (%v)\n%s%s", args, err, status, ts.ReadFile("stderr"))
		}
	}
}

// waitfor FILE waits until a file is there.
func cmdWaitFor(ts *testscript.TestScript, neg bool, args []string) {
	usageError(ts, neg || len(args) != 1, "waitfor FILE")
	limit := time.NewTimer(time.Minute)
	defer limit.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := os.Stat(ts.MkAbs(args[0])); err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-limit.C:
			ts.Fatalf("%s never comes", args[0])
		}
	}
}

// agentHead is what agent.in leaves out.
var agentHead = []string{"stores: ADDR", "prefix: PREFIX", "state_dir: WORK/state", "listen: WORK/agent.sock"}

// agentfile writes agent.yml, from agent.in, and puts the lines of agentHead before it
// whose keys it does not have. WORK, PREFIX and ADDR are replaced by the script's own.
func cmdAgentFile(ts *testscript.TestScript, neg bool, args []string) {
	usageError(ts, neg || len(args) > 1, "agentfile [FROM]")
	from := "agent.in"
	if len(args) > 0 {
		from = args[0]
	}
	text := ts.ReadFile(from)
	for _, line := range agentHead {
		key, _, _ := strings.Cut(line, " ")
		if !strings.HasPrefix(text, key) && !strings.Contains(text, "\n"+key) {
			text = line + "\n" + text
		}
	}
	text = strings.NewReplacer("WORK", ts.Getenv("WORK"), "PREFIX", ts.Getenv("PREFIX"), "ADDR", ts.Getenv("CONSUL_HTTP_ADDR"),
		"NOWHERE", ts.Getenv("NOWHERE"), "BABBLER", ts.Getenv("BABBLER")).Replace(text)
	ts.Check(os.WriteFile(ts.MkAbs("agent.yml"), []byte(text), 0o600))
}
