// Package doctor finds out why a machine does not get its files, or cannot publish them. It owns the checks of
// `kvexpress doctor`: what each asks, and what its answer means. It changes nothing, on the machine and in the store. cli decides
// which checks a machine needs, and opens stores and hubs. Of this module it imports agent, atomicfile, command, fleet, httpd,
// install, kv, outcome, rollout, safetext and wire.
package doctor

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"kvexpress/internal/safetext"
)

// Result is the result of a check.
type Result string

// The results.
const (
	OK         Result = "ok"
	Warning    Result = "warning"     // it works, but not as it should, or it does not on purpose
	Failure    Result = "failure"     // it does not work
	NotChecked Result = "not_checked" // the check could not be made: nothing is known
)

// Finding is what one check found.
type Finding struct {
	Check  string `json:"check"`           // the kind of check, in one word
	About  string `json:"about,omitempty"` // which one: an address, a file, a unit
	Result Result `json:"result"`
	Says   string `json:"says"` // in one line, with a remedy unless the result is OK
}

// found is a finding without its check.
func found(r Result, format string, args ...any) Finding {
	return Finding{Result: r, Says: fmt.Sprintf(format, args...)}
}

// Check is one check.
type Check struct {
	Name, About string
	// Run makes the check. Fields that its findings leave empty are those of the Check.
	Run func(context.Context) []Finding
}

// Limit is how long a check may take.
const Limit = 5 * time.Second

// slowAfter is how long Run waits before it says for what.
const slowAfter = time.Second

// Run makes all checks at once, and returns their findings in the order of the checks. A check that takes longer than Limit is a
// failure: its disk, or whatever it asks, does not answer. waiting is called with the number of a check that is slow.
func Run(ctx context.Context, checks []Check, waiting func(int)) (all []Finding) {
	slow, cancel := context.WithTimeout(ctx, slowAfter)
	defer cancel()
	results := make([]chan []Finding, len(checks))
	for i, c := range checks {
		results[i] = make(chan []Finding, 1)
		go func() { results[i] <- c.limited(ctx) }()
	}
	for i, c := range checks {
		var some []Finding
		select {
		case some = <-results[i]:
		case <-slow.Done():
			waiting(i)
			some = <-results[i]
		}
		for _, f := range some {
			f.Check, f.About = cmp.Or(f.Check, c.Name), cmp.Or(f.About, c.About)
			f.Says = safetext.Redact(safetext.Joined(f.Says, maxSays))
			all = append(all, f)
		}
	}
	return all
}

// limited makes the check. One that hangs in the kernel ends with the process.
func (c Check) limited(ctx context.Context) []Finding {
	ctx, cancel := context.WithTimeout(ctx, Limit)
	defer cancel()
	done := make(chan []Finding, 1)
	go func() { done <- c.Run(ctx) }()
	select {
	case all := <-done:
		return all
	case <-ctx.Done():
		return []Finding{found(Failure, "no answer within %s; check the network, or the disk behind it", Limit)}
	}
}

// maxSays is the longest text of a finding, in bytes.
const maxSays = 2 << 10

// Spare makes failures of stores and hubs warnings if one of them works: the node uses that one.
func Spare(all []Finding) {
	source := func(f Finding) bool { return f.Check == StoreCheck || f.Check == HubCheck }
	if !slices.ContainsFunc(all, func(f Finding) bool { return source(f) && f.Result == OK }) {
		return
	}
	for i, f := range all {
		if source(f) && f.Result == Failure {
			all[i].Result = Warning
		}
	}
}

// Given are findings that are known without a check.
func Given(name, about string, findings ...Finding) Check {
	return Check{Name: name, About: about, Run: func(context.Context) []Finding { return findings }}
}
