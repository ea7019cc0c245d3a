package agent

import (
	"errors"
	"fmt"
	"time"

	"kvexpress/internal/outcome"
)

// maxReasons is how many targets Ready names.
const maxReasons = 50

// Ready is nil once the configuration is loaded and every target was reconciled once, with any outcome: a refused file is
// for alerts, it does not hold up a boot or a deploy. If the store is unreachable from the start, the agent is not ready. If the
// node loses contact later, it is not ready after MaxSilence: its files are good, but news does not reach it.
func Ready(s Status, now time.Time) error {
	if s.Config.Loaded.IsZero() {
		return errors.New("the configuration is not loaded yet")
	}
	var reasons []error
	if silent := s.NoContact(now); silent != "" {
		reasons = append(reasons, errors.New(silent))
	}
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
