package cli

import (
	"os"
	"slices"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// await TEXT... [-- COMMAND ARG...] waits until the command prints each of these texts. Without one it
// is `kvexpress agent status --json`, for the agent of agent.yml.
func cmdAwait(ts *testscript.TestScript, neg bool, args []string) {
	command := []string{"kvexpress", "agent", "status", "-C", "agent.yml", "--json"}
	if i := slices.Index(args, "--"); i >= 0 {
		args, command = args[:i], args[i+1:]
	}
	usageError(ts, neg || len(args) == 0 || len(command) == 0, "await TEXT... [-- COMMAND ARG...]")
	limit := time.NewTimer(time.Minute)
	defer limit.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ts.Exec(command[0], command[1:]...)
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
			ts.Fatalf("%q is never printed; printed is (%v)\n%s%s", args, err, status, ts.ReadFile("stderr"))
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
