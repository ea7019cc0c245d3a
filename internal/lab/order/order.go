// Package order judges what a node answered while new versions of its hosts file
// were published: did it ever say what no version says, go back to an older
// version, or miss the last one?
//
// A node is not asked which version it has. Its answers are compared with the
// versions, as those who use it would see them.
//
//	order     the judgement of all answers, in order
//	index     which versions say the same of a name
//	why       a fault in words
//	final     the judgement of the last answers
//	parse     a version from the text of a hosts file
//
// It is pure, and imports nothing of this module.
package order

import (
	"net/netip"
	"time"
)

// Version is one published version of the hosts file.
type Version struct {
	// Number is the version's own. It grows from version to version.
	Number uint64
	// Published is when its publishing began: no node can have it earlier.
	Published time.Time
	// Hosts is the address of each name, the name as it is asked for.
	Hosts map[string]netip.Addr
}

// Answer is what a node said of a name.
type Answer struct {
	Name string
	// Addr is the address. The zero Addr means that the node said there is no such
	// name; a question without an answer is not to be judged.
	Addr netip.Addr
	// Asked is when the question was sent, Answered when its answer had come.
	Asked, Answered time.Time
}

// Verdict is what all answers of a node come to.
type Verdict struct {
	Node string
	// Answers is how many were judged.
	Answers int
	// First and Last are the numbers of the oldest version that explains the first
	// answer without a fault, and of the oldest that explains the last such answer
	// after those before it. Both are 0 when no answer is explained.
	First, Last uint64
	// Faults are the answers that no version explains, in order.
	Faults []Fault
}

// Fault is an answer that is not as it has to be.
type Fault struct {
	Node   string
	Answer Answer
	// Why says in words what is wrong.
	Why string
	// Low is the number of the oldest version that the node could have had, by what
	// it had answered before.
	Low uint64
}

// Check judges the answers of one node, which are in the order in which they were
// given. The versions are in the order in which they were published, from the one
// that the node had at the beginning, and names are all that it was asked for.
//
// Each answer must be what some version says that was published by then, and that
// is no older than the version of the answer before. Of several, the oldest is
// taken. That is exact: if any choice of versions that never goes back explains
// all answers, this one does too, since it has at each answer a version that is no
// newer than the other choice's, and so all that are left to that choice. There
// are faults if and only if there is no such choice.
//
// After a fault the judgement goes on as if that answer had not been given.
func Check(node string, versions []Version, names []string, answers []Answer) Verdict {
	v := Verdict{Node: node, Answers: len(answers)}
	if why := disorder(versions); why != "" {
		v.Faults = append(v.Faults, Fault{Node: node, Why: why})
		return v
	}
	x := newIndex(versions, names)
	low, explained := 0, false
	for _, a := range answers {
		at, ok := x.next(a, low)
		if ok && !versions[at].Published.After(a.Answered) {
			if !explained {
				v.First, explained = versions[at].Number, true
			}
			low = at
			continue
		}
		f := Fault{Node: node, Answer: a, Why: x.why(a, low)}
		if len(versions) > 0 {
			f.Low = versions[low].Number
		}
		v.Faults = append(v.Faults, f)
	}
	if explained {
		v.Last = versions[low].Number
	}
	return v
}
