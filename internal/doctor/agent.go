package doctor

import (
	"fmt"
	"os"
	"time"

	"kvexpress/internal/agent"
	"kvexpress/internal/outcome"
)

// OfAgent says how the agent that runs here does. version is of this program.
func OfAgent(s agent.Status, version string, now time.Time) []Finding {
	up := now.Sub(s.Started).Round(time.Second)
	all := []Finding{found(OK, "%s, kvexpress %s, up for %s, %s", s.Node, s.Version, up, contact(s, now))}
	if silent := s.NoContact(now); silent != "" {
		all[0] = found(Failure, "%s; see the findings on stores and hubs", silent)
	}
	if s.Config.Error != "" {
		all = append(all, found(Failure, "the last reload was refused, and the configuration from %s ago is in force: %s",
			now.Sub(s.Config.Loaded).Round(time.Second), s.Config.Error))
	}
	for _, file := range s.Config.Files {
		if info, err := os.Stat(file); err == nil && info.ModTime().After(s.Config.Loaded) && s.Config.Error == "" {
			all = append(all, found(Warning, "%s was changed after the agent read it; `systemctl reload kvexpress-agent`", file))
		}
	}
	if s.Receipt.Error != "" {
		all = append(all, found(Warning, "the last receipt was not written, so `kvexpress status` may be wrong about this node: %s",
			s.Receipt.Error))
	}
	if s.Version != version {
		all = append(all, Finding{Check: "version", Result: Warning, Says: fmt.Sprintf(
			"the agent runs kvexpress %s, and this is %s; `systemctl restart kvexpress-agent`", s.Version, version)})
	}
	return all
}

func contact(s agent.Status, now time.Time) string {
	if s.Contact == nil {
		return "no contact yet"
	}
	return "last contact " + max(0, now.Sub(*s.Contact)).Round(time.Second).String() + " ago"
}

// ofOutcome is the state of a target, from its outcome, and the reason in one line.
func ofOutcome(o outcome.Outcome, version uint64, detail string) Finding {
	f := Finding{Result: Failure, Says: o.Text()}
	switch o {
	case outcome.Converged:
		f.Result = OK
		if version > 0 {
			f.Says += fmt.Sprintf(", version %d", version)
		}
	case outcome.Stopped, outcome.Locked, outcome.Waiting, outcome.Starting:
		f.Result = Warning
	}
	if rank := o.Rank(); detail == "" && rank >= 0 {
		row := outcome.All()[rank]
		if f.Result != OK {
			f.Says += ": " + row.Meaning + "; " + row.Remedy
		}
		return f
	}
	if detail != "" {
		f.Says += ": " + detail
	}
	return f
}
