package order

import (
	"fmt"
	"net/netip"
	"time"
)

// why says what is wrong with an answer that no version from low on explains.
func (x index) why(a Answer, low int) string {
	if len(x.versions) == 0 {
		return told(a) + ", and no version was published"
	}
	if !x.names[a.Name] {
		return fmt.Sprintf("%q is none of the names that were to be asked for", a.Name)
	}
	had := x.versions[low]
	if at, ok := x.before(a, low); ok {
		return fmt.Sprintf("%s, which was right in version %d, and is older than version %d: it went back", told(a), x.versions[at].Number, had.Number)
	}
	if at, ok := x.next(a, low); ok {
		v := x.versions[at]
		return fmt.Sprintf("%s, which will be right only in version %d, published %s after the answer", told(a), v.Number, span(v.Published.Sub(a.Answered)))
	}
	return fmt.Sprintf("%s, and no version says so: in version %d %s", told(a), had.Number, stands(had.Hosts[a.Name]))
}

// told is an answer in words.
func told(a Answer) string {
	if !a.Addr.IsValid() {
		return fmt.Sprintf("%q does not exist, it said", a.Name)
	}
	return fmt.Sprintf("%q is %s, it said", a.Name, a.Addr)
}

// stands is what a version says, in words.
func stands(addr netip.Addr) string {
	if !addr.IsValid() {
		return "there is no such name"
	}
	return "it is " + addr.String()
}

// span is a time that is rounded for people, if it is long enough to be.
func span(d time.Duration) time.Duration {
	if d > 10*time.Millisecond {
		return d.Round(time.Millisecond)
	}
	return d
}
