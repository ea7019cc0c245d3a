//go:build linux

package e2e

import "testing"

// The faults of FAULTS.md (numbers are those of its list) for the agent, as a process
// against three servers. Most of the time is spent waiting, so what can be is done at
// the same time. "Taken out" in the comments tells which guard was taken out by hand,
// in the code under test, to see the test fail.
func TestAgentFaults(t *testing.T) {
	t.Parallel()
	together(t,
		part{"servers that are well", agentWithGoodServers},
		part{"servers that fail", agentWithFailingServers},
		part{"over a minute", agentFaultsOverAMinute},
	)
}

// agentWithGoodServers has the faults of the agent itself and of its network.
func agentWithGoodServers(t *testing.T) {
	c := startCluster(t)
	all := func(faults map[string]func(*testing.T, *cluster)) {
		var parts []part
		for name, fault := range faults {
			parts = append(parts, part{name, func(t *testing.T) { fault(t, c) }})
		}
		together(t, parts...)
	}
	all(map[string]func(*testing.T, *cluster){
		"killed at each step":  agentKilledAtEachStep, // 1
		"killed at any moment": agentKilledAtAnyMoment,
		"killed, controls":     agentKilledControls,
		"state damaged":        agentStateDamaged,       // 14
		"storm of versions":    agentAndStormOfVersions, // 42
		"beside others":        agentBesideOthers,       // 44
	})
	all(map[string]func(*testing.T, *cluster){
		"deleted keys":              agentAndDeletedKeys,   // 20
		"deleted prefix":            agentAndDeletedPrefix, // 22
		"resets":                    agentAndResets,        // 28
		"endless answers and bombs": agentAndEndless,       // 30
		"fake answers":              agentAndFakes,         // 31 to 33
		"bad execs":                 agentAndBadExecs,      // 37 to 40
		"clocks":                    agentAndClocks,        // 41
		"reconnect":                 agentsThatReconnect,   // 43
	})
	agentsOfOneFile(t, c) // 11, alone: its reader never rests
}
