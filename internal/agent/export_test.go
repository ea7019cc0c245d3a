package agent

import "time"

// Paced makes an agent that tries again after such a while, whatever failed.
func Paced(o *Options, least, most time.Duration) {
	o.pace = func(s State, reason string) backoff {
		if patience(s, reason).most == 0 {
			return backoff{}
		}
		return backoff{least, most}
	}
}

// Share is the part of its spread for which a node waits, from 0 to 1.
func Share(node string) float64 { return share(node) }

// ReceiptDelay is how long a node waits with a receipt, in a fleet of so many.
func ReceiptDelay(node string, nodes int) time.Duration { return receiptDelay(node, nodes) }
