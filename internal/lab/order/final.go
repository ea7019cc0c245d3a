package order

import "fmt"

// Final judges the last answer to each name, after the last version has had its
// time to arrive: it must be what that version says, so that nothing was lost. A
// name that was not asked for since that version was published is a fault too,
// since nothing is known of it. The faults are in the order of names, without a
// node, and none means that the node is where it has to be.
func Final(last Version, names []string, answers []Answer) []Fault {
	latest := make(map[string]Answer, len(names))
	for _, a := range answers {
		latest[a.Name] = a
	}
	var faults []Fault
	fault := func(a Answer, format string, args ...any) {
		faults = append(faults, Fault{Answer: a, Why: fmt.Sprintf(format, args...), Low: last.Number})
	}
	for _, name := range names {
		a, asked := latest[name]
		switch {
		case !asked:
			fault(Answer{Name: name}, "%q was never asked for", name)
		case a.Asked.Before(last.Published):
			fault(a, "%q was last asked for %s before version %d was published", name, span(last.Published.Sub(a.Asked)), last.Number)
		case a.Addr != last.Hosts[name]:
			fault(a, "%s at last, but in version %d, the last, %s", told(a), last.Number, stands(last.Hosts[name]))
		}
	}
	return faults
}
