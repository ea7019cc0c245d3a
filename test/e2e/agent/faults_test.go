//go:build linux

package agent

import (
	"testing"

	"kvexpress/test/e2e"
)

// Faults of an agent, its network and its servers: it is a process
// against three servers. Most of the time is spent waiting, so faults that can share a
// cluster run at the same time. Comments with "without" or "if" name the guard that was removed by
// hand, in the code under test, to see the test fail.
func TestAgentFaults(t *testing.T) {
	t.Parallel()
	e2e.Together(t, e2e.Parts{
		"servers that are well": agentWithGoodServers,
		"servers that fail":     agentWithFailingServers,
		"over a minute":         agentFaultsOverAMinute,
	})
}

// agentWithGoodServers has the faults of the agent itself and of its network.
func agentWithGoodServers(t *testing.T) {
	c := e2e.StartCluster(t)
	all := func(faults map[string]func(*testing.T, *e2e.Cluster)) {
		parts := e2e.Parts{}
		for name, fault := range faults {
			parts[name] = func(t *testing.T) { fault(t, c) }
		}
		e2e.Together(t, parts)
	}
	all(map[string]func(*testing.T, *e2e.Cluster){
		"killed at each step":  agentKilledAtEachStep,
		"killed at any moment": agentKilledAtAnyMoment,
	})
	all(map[string]func(*testing.T, *e2e.Cluster){
		"deleted keys": agentAndDeletedKeys,
		"fake answers": agentAndFakes,
		"bad execs":    agentAndBadExecs,
	})
}
