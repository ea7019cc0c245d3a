package agent

import (
	"errors"
	"fmt"

	"kvexpress/internal/outcome"
)

// maxReasons is how many targets Ready names.
const maxReasons = 50

// Ready is nil once the configuration is loaded and every target was reconciled once, with any outcome: a refused file is
// for alerts, it does not hold up a boot or a deploy. An outage that begins later changes nothing, because the last good
// file is in place. If the store is unreachable from the start, the agent is not ready.
func Ready(s Status) error {
	if s.Config.Loaded.IsZero() {
		return errors.New("the configuration is not loaded yet")
	}
	var reasons []error
	for _, t := range s.Targets {
		switch {
		case t.answered:
		case t.Outcome == outcome.Unreachable:
			reasons = append(reasons,
				fmt.Errorf("%s: %s: the store has been unreachable since the start: %s", t.Key, t.File, s.Store.Error))
		default:
			reasons = append(reasons, fmt.Errorf("%s: %s: not reconciled yet", t.Key, t.File))
		}
	}
	if more := len(reasons) - maxReasons; more > 0 {
		reasons = append(reasons[:maxReasons], fmt.Errorf("and %d more", more))
	}
	return errors.Join(reasons...)
}
