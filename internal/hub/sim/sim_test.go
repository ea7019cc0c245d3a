// Package sim simulates a fleet: real agents with real installs, and real hubs, in one bubble of testing/synctest, over a network
// in memory and an embedded store. A seed decides what goes wrong and when. It has tests alone, and may import all packages.
//
//	sim    the seeds
//	chaos  what an operator does, and what breaks
//	rules  what must hold, whatever happens
//	stages the same for rollouts: what an operator does, and what must hold
//	node   an agent, its file, and what it heard
//	hub    a feed, a fan-out and a table of receipts, as the daemon puts them together
//	link   the way to the store: slow, cut, lossy, or answered by an outdated leader
package sim

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// seedVariable replays one seed: the same events at the same times. Which goroutine draws which delay, and the jitter of hubs, differ
// from run to run, so a failure may need several: -count=50.
const seedVariable = "KVEXPRESS_SIM_SEED"

func TestSeeds(t *testing.T) { simulateAll(t, false) }

// TestRollouts has a policy with stages, and versions that do not work. Its first 25 seeds fail without any one of these: offers
// only after the row is written, to admitted nodes alone, and not while reverting; failures, waiting nodes, the bake and the last
// question count; a threshold that only rises; paused and stopped rollouts that admit no node; numbers of withdrawn versions.
func TestRollouts(t *testing.T) { simulateAll(t, true) }

func simulateAll(t *testing.T, stages bool) {
	first, seeds := uint64(1), uint64(20)
	switch {
	case os.Getenv(seedVariable) != "":
		var err error
		if first, err = strconv.ParseUint(os.Getenv(seedVariable), 10, 64); err != nil {
			t.Fatal(err)
		}
		seeds = 1
	case os.Getenv("KVEXPRESS_SOAK") == "1":
		seeds = 3000
	case testing.Short():
		seeds = 10
	}
	for seed := first; seed < first+seeds; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir() // a bubble ends before its clean-up
			synctest.Test(t, func(t *testing.T) { simulate(t, dir, seed, stages) })
		})
	}
}

const (
	nodes, keys, hubs = 5, 2, 2
	// settle is how long after the last fault each node has the last version, and the store its receipt. It has room for the longest
	// pause of the product: a hub that refused an agent is left alone for a minute, and each hub reads all keys once a minute.
	settle = 3 * time.Minute
)

func simulate(t *testing.T, dir string, seed uint64, stages bool) {
	w := newWorld(t, dir, seed, stages)
	defer w.end()
	for range 30 + w.plan.IntN(30) {
		if t.Failed() {
			break
		}
		if stages && w.plan.IntN(2) == 0 {
			w.actStages()
		} else {
			w.act()
		}
		w.claims()
	}
	w.heal()
	if pass(settle); stages {
		w.goOn() // it waits before its last stage, or halted
		pass(settle)
	}
	w.claims()
	w.settled()
	if t.Failed() {
		t.Logf("%s\nto replay: %s=%d go test ./internal/hub/sim -run %s -count=50", w.trace.text(), seedVariable, seed,
			strings.Split(t.Name(), "/")[0])
	}
}

// pass lets time pass in the bubble.
func pass(d time.Duration) { <-time.After(d) }

func seeded(seed, stream uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, stream)) }
