package agent

import (
	"time"

	"kvexpress/internal/outcome"
	"kvexpress/internal/wait"
)

// Paced makes an agent that retries after this time, whatever failed.
func Paced(o *Options, least, most time.Duration) {
	o.pace = func(s outcome.Outcome, reason string) wait.Backoff {
		if patience(s, reason).Most == 0 {
			return wait.Backoff{}
		}
		return wait.Backoff{Least: least, Most: most}
	}
}

// Share is the part of its spread for which a node waits, from 0 to 1.
func Share(node string) float64 { return share(node) }
