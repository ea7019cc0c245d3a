package web

import (
	"slices"
	"strings"
	"sync"
	"time"

	"kvexpress/internal/fleet"
	"kvexpress/internal/hold"
	"kvexpress/internal/kv"
	"kvexpress/internal/rollout"
)

// snapshot is the fleet of one moment. Only details and rendered change.
type snapshot struct {
	o       *Options
	past    *past
	roster  fleet.Roster
	live    map[kv.Key]fleet.Live
	reports []fleet.Report // of the keys that can be read, sorted by name
	locks   []hold.Lock
	noLocks error                  // why the locks are not known
	rolls   map[kv.Key]rollout.Row // rollouts that have not ended
	noRolls error                  // why they are not known
	left    int                    // keys that were left out
	taken   time.Time              // when the receipts were read
	failed  error                  // why a newer reading failed
	read    time.Time              // when the last reading ended, also one that failed

	mu       sync.Mutex
	details  map[kv.Key]*fleet.Report
	rendered map[string][]byte // what streams send, by caller and path
}

// stale is the same snapshot after a reading that failed.
func (s *snapshot) stale(err error) *snapshot {
	return &snapshot{o: s.o, past: s.past, roster: s.roster, live: s.live, reports: s.reports, locks: s.locks, noLocks: s.noLocks,
		rolls: s.rolls, noRolls: s.noRolls,
		left: s.left, taken: s.taken, failed: err, read: time.Now(), details: map[kv.Key]*fleet.Report{}, rendered: map[string][]byte{}}
}

// keys are all keys, sorted.
func (s *snapshot) keys() []kv.Key {
	keys := make([]kv.Key, 0, len(s.live))
	for k := range s.live {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// detail is the report of a key with all nodes. It notes the deliveries of the live version.
func (s *snapshot) detail(k kv.Key) *fleet.Report {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.details[k]; r != nil {
		return r
	}
	r := fleet.Examine(s.roster, s.live[k], fleet.Options{Expiry: s.o.Expiry, Lines: true})
	s.details[k] = &r
	s.past.note(k, &r)
	return &r
}

// findNode finds a node by its name.
func (s *snapshot) findNode(name string) (fleet.Node, bool) {
	i, ok := slices.BinarySearchFunc(s.roster.Nodes, name,
		func(n fleet.Node, name string) int { return strings.Compare(n.Name, name) })
	if !ok {
		return fleet.Node{}, false
	}
	return s.roster.Nodes[i], true
}
