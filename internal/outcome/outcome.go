// Package outcome has the one list of outcomes of a target on a node: word, meaning, exit code, and what to do. It imports
// nothing of this module.
package outcome

import (
	"slices"
	"strings"
)

// Outcome is the state of a target on a node, as one stable word in receipts, --json, metrics and
// `agent status`. The words are a contract.
type Outcome string

// The outcomes that a node reports.
const (
	Starting    Outcome = "starting"    // the agent has not reconciled it yet
	Converged   Outcome = "converged"   // the file is the live version, and no exec is pending
	Pending     Outcome = "pending"     // the file is in place, its exec has not succeeded yet
	Waiting     Outcome = "waiting"     // spread holds a new version back
	Stopped     Outcome = "stopped"     // the key is stopped in the whole fleet
	Locked      Outcome = "locked"      // the file is locked on this node
	Missing     Outcome = "missing"     // the store has no such key
	Denied      Outcome = "denied"      // the token cannot read the key
	Refused     Outcome = "refused"     // the content is refused: see gate.Reason
	Older       Outcome = "older"       // the store went back to an older version, and refuse_older is set
	Unreachable Outcome = "unreachable" // the store cannot be reached
	Failed      Outcome = "failed"      // any other failure, such as a full disk
)

// The outcomes that readers of receipts conclude. A node without contact is not counted.
const (
	Outdated  Outcome = "outdated"   // it has another version, or none
	Invalid   Outcome = "invalid"    // its receipt contradicts the published versions
	Unknown   Outcome = "unknown"    // no receipt since the store was restored from a snapshot, or one without an outcome
	NoContact Outcome = "no_contact" // it left its hub, or sent no receipt for longer than it promised
	Expired   Outcome = "expired"    // no contact for so long that the node is left out
)

// Row describes one outcome for people.
type Row struct {
	Outcome Outcome
	Meaning string
	Exit    int    // exit code of `out`; with --strict where Strict is set
	Strict  bool   // without --strict the exit code is 0
	Remedy  string // what to do; "" if there is nothing to do
}

// All lists all outcomes in the order of tables and docs, from the closest to converged to the
// farthest. A node with several files has the last of their outcomes in this order.
func All() []Row { return slices.Clone(table) }

// Reported lists the outcomes that a node reports, in the order of All.
func Reported() []Outcome {
	var reported []Outcome
	for _, row := range table {
		switch row.Outcome {
		case Outdated, Invalid, Unknown, NoContact, Expired:
		default:
			reported = append(reported, row.Outcome)
		}
	}
	return reported
}

// Rank is the place of an outcome in All, from 0; -1 for a word that is none.
func (o Outcome) Rank() int {
	return slices.IndexFunc(table, func(r Row) bool { return r.Outcome == o })
}

// Counted reports whether a node with this outcome counts in shares such as "99 % up to date".
func (o Outcome) Counted() bool { return o != NoContact && o != Expired }

// Text is the outcome in the words of messages: "no contact", "exec pending".
func (o Outcome) Text() string {
	if o == Pending {
		return "exec pending"
	}
	return strings.ReplaceAll(string(o), "_", " ")
}

var table = []Row{ //nolint:gochecknoglobals // nothing changes it
	{Outcome: Converged, Meaning: "the file is the live version and its exec has succeeded"},
	{Outcome: Pending, Meaning: "the file is in place, but its exec has not succeeded yet", Exit: 8,
		Remedy: "read the exec's output in `kvexpress agent status`; the agent retries it"},
	{Outcome: Starting, Meaning: "the agent has not reconciled the target yet", Remedy: "wait a few seconds"},
	{Outcome: Waiting, Meaning: "`spread` holds a new version back", Remedy: "wait, or lower `spread` in agent.yml"},
	{Outcome: Outdated, Meaning: "the node reports another version, or none",
		Remedy: "wait a few seconds; then check the agent or the Consul watch on the node"},
	{Outcome: Stopped, Meaning: "the key is stopped in the whole fleet", Exit: 3, Strict: true,
		Remedy: "`kvexpress stops` shows the reason; to undo: `kvexpress resume -k KEY`"},
	{Outcome: Locked, Meaning: "the file is locked on this node", Exit: 4, Strict: true,
		Remedy: "`kvexpress locks` shows the reason; to undo: `kvexpress unlock -f FILE`"},
	{Outcome: Missing, Meaning: "the store has no such key; the file stays as it is", Exit: 5,
		Remedy: "publish it with `kvexpress in -k KEY -f FILE`, or correct the key"},
	{Outcome: Refused, Meaning: "the content is refused; the file stays as it is", Exit: 6,
		Remedy: "publish content that passes the checks"},
	{Outcome: Older, Meaning: "the store went back to an older version, and `refuse_older` is set", Exit: 6,
		Remedy: "publish again, or remove `refuse_older` from agent.yml"},
	{Outcome: Denied, Meaning: "the token cannot read the key; the file stays as it is", Exit: 7,
		Remedy: "`kvexpress acl node -k KEY` prints the policy that the token needs"},
	{Outcome: Unreachable, Meaning: "the store cannot be reached; the last good file stays", Exit: 7,
		Remedy: "check the address and the store; the agent retries by itself"},
	{Outcome: Failed, Meaning: "another failure on the node, such as a full disk", Exit: 1,
		Remedy: "read the error in `kvexpress agent status`"},
	{Outcome: Unknown, Meaning: "no receipt since the store was restored from a snapshot, or one of another kvexpress",
		Remedy: "wait for the next receipt of the agent; without an agent, run `kvexpress out` there"},
	{Outcome: Invalid, Meaning: "the receipt contradicts the published versions",
		Remedy: "check who writes receipts under this node's name"},
	{Outcome: NoContact, Meaning: "the node has left its hub, or has sent no receipt for longer than it promised; it is not counted",
		Remedy: "`kvexpress status --node NODE` shows when it was last there; check the node and its agent"},
	{Outcome: Expired, Meaning: "no contact for `--expire-after` (a day); it is not counted and not listed",
		Remedy: "`kvexpress forget NODE` removes a decommissioned node"},
}
