// Package order judges what a node answered while new versions of its hosts file were
// published: did it ever say what no version says, go back to an older version, or miss
// the last one?
//
// It does not ask a node which version it has. It compares the node's answers with the
// versions, as the users of the node see them. It is pure, and imports nothing of this
// module.
package order

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// Version is one published version of the hosts file.
type Version struct {
	Number    uint64                // grows from version to version
	Published time.Time             // when its publishing began: no node can have it earlier
	Hosts     map[string]netip.Addr // by name
}

// Answer is what a node said of a name. The zero Addr: there is no such name.
type Answer struct {
	Name            string
	Addr            netip.Addr
	Asked, Answered time.Time
}

// Verdict is the judgement of all answers of a node.
type Verdict struct {
	Node    string
	Answers int     // how many were judged
	Last    uint64  // number of the oldest version that explains the last answer; 0: none does
	Faults  []Fault // the answers that no version explains, in order
}

// Fault is a wrong answer.
type Fault struct {
	Answer Answer
	Why    string
}

// Check judges the answers of one node, in the order in which it gave them. The versions
// are in the order in which they were published, from the one that the node had at the
// beginning.
//
// Some version that was published by then must say each answer, and it must be no older
// than the version of the answer before. Of several, Check takes the oldest. That is
// exact: if any choice of versions that never goes back explains all answers, this one
// does too, since at each answer its version is no newer than in the other choice.
//
// After a fault, Check ignores that answer and continues.
func Check(node string, versions []Version, answers []Answer) Verdict {
	v := Verdict{Node: node, Answers: len(answers)}
	for i := 1; i < len(versions); i++ {
		if a, b := versions[i-1], versions[i]; b.Number <= a.Number || b.Published.Before(a.Published) {
			why := fmt.Sprintf("nothing was judged: version %d, after version %d, is not newer in number and time", b.Number, a.Number)
			v.Faults = append(v.Faults, Fault{Why: why})
			return v
		}
	}
	low := 0
	for _, a := range answers {
		at := next(versions, a, low)
		if at == len(versions) || versions[at].Published.After(a.Answered) {
			v.Faults = append(v.Faults, Fault{a, why(versions, a, low)})
			continue
		}
		low, v.Last = at, versions[at].Number
	}
	return v
}

// next is the place of the first version from low on that gives this answer, published by then or not;
// the number of versions if none does.
func next(versions []Version, a Answer, low int) int {
	for low < len(versions) && versions[low].Hosts[a.Name] != a.Addr {
		low++
	}
	return low
}

// why explains the fault of an answer that no version from low on gives.
func why(versions []Version, a Answer, low int) string {
	said := fmt.Sprintf("%q is %s", a.Name, text(a.Addr))
	if len(versions) == 0 {
		return said + ", and no version was published"
	}
	if at := next(versions, a, 0); at < low {
		return fmt.Sprintf("%s, as in version %d, older than version %d: it went back", said, versions[at].Number, versions[low].Number)
	}
	if at := next(versions, a, low); at < len(versions) {
		v := versions[at]
		return fmt.Sprintf("%s, as only in version %d, published %v after the answer", said, v.Number, v.Published.Sub(a.Answered))
	}
	v := versions[low]
	return fmt.Sprintf("%s, and no version says so: in version %d it is %s", said, v.Number, text(v.Hosts[a.Name]))
}

// text is an address in words.
func text(addr netip.Addr) string {
	if !addr.IsValid() {
		return "unknown"
	}
	return addr.String()
}

// Parse reads a hosts file: lines of an address and its names, comments from # on, and
// empty lines. It is an error if a line is none of them, or a name has two addresses.
func Parse(content []byte) (map[string]netip.Addr, error) {
	hosts := make(map[string]netip.Addr)
	number := 0
	for line := range strings.Lines(string(content)) {
		number++
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		addr, err := netip.ParseAddr(words[0])
		if err != nil || len(words) == 1 {
			return nil, fmt.Errorf("line %d of the hosts file is not an address and its names: %q", number, line)
		}
		addr = addr.Unmap()
		for _, name := range words[1:] {
			if other, twice := hosts[name]; twice && other != addr {
				return nil, fmt.Errorf("line %d of the hosts file gives %q the address %s, after %s above", number, name, addr, other)
			}
			hosts[name] = addr
		}
	}
	return hosts, nil
}
