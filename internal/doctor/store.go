package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"kvexpress/internal/fleet"
	"kvexpress/internal/kv"
)

// Names of checks that Spare knows.
const (
	StoreCheck = "store"
	HubCheck   = "hub"
)

// Store is a store that can be examined.
type Store interface {
	kv.Reader
	kv.Clock
	Addr() string
	// Missing returns the paths that the store's token may not read or may not write.
	Missing(ctx context.Context, reads, writes []string) ([]string, error)
	// Version is the version of Consul; "" if it does not tell.
	Version(ctx context.Context) string
}

// Right is a row that a role reads or writes.
type Right struct {
	Path  string
	Write bool
	Why   string // what it is for
}

// leastConsul is the oldest minor version of Consul 1 that works.
const leastConsul = 14

// OfStore checks that a store answers, that its token is known and has the rights of a role, and this machine's clock. Nothing is
// written: a right is tried with a check in a transaction, see kv.Permissions.
func OfStore(s Store, rights []Right, g kv.Guide) Check {
	return Check{Name: StoreCheck, About: s.Addr(), Run: func(ctx context.Context) []Finding {
		began := time.Now()
		if _, err := s.Read(ctx, kv.Default, "kvexpress"); err != nil { // of any path
			return []Finding{found(Failure, "%s", g.Explain(err))}
		}
		took := time.Since(began)
		return []Finding{ofVersion(s.Version(ctx), took), ofRights(ctx, s, rights, g), ofClock("store", s.Addr(), s.Offset)}
	}}
}

func ofVersion(version string, took time.Duration) Finding {
	answers := fmt.Sprintf("answers in %d ms", max(1, took.Milliseconds()))
	major, rest, _ := strings.Cut(version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	if n, err := strconv.Atoi(minor); err == nil && major == "1" && n < leastConsul {
		return found(Warning, "%s, but Consul %s is too old; upgrade it to 1.%d or newer", answers, version, leastConsul)
	}
	if version != "" {
		answers = "Consul " + version + " " + answers
	}
	return found(OK, "%s", answers)
}

func ofRights(ctx context.Context, s Store, rights []Right, g kv.Guide) Finding {
	const most = 5 // named rows
	var missing []string
	for len(rights) > 0 {
		some := rights[:min(len(rights), kv.MaxOps)]
		rights = rights[len(some):]
		var reads, writes []string
		why := map[string]string{}
		for _, r := range some {
			if r.Write {
				writes, why[r.Path] = append(writes, r.Path), "write "+r.Path+" ("+r.Why+")"
			} else {
				reads, why[r.Path] = append(reads, r.Path), cmp.Or(why[r.Path], "read "+r.Path+" ("+r.Why+")")
			}
		}
		denied, err := s.Missing(ctx, reads, writes)
		if err != nil {
			f := unasked(err, g)
			f.Check = "rights"
			return f
		}
		for _, path := range denied {
			missing = append(missing, why[path])
		}
	}
	f := Finding{Check: "rights", Result: OK, Says: "the token has all rights of this role"}
	if n := len(missing); n > 0 {
		more := ""
		if n > most {
			more = fmt.Sprintf(", and %d more", n-most)
		}
		f.Result = Failure
		f.Says = g.Explain(fmt.Errorf("the token may not %s%s: %w", strings.Join(missing[:min(n, most)], ", "), more, kv.ErrDenied))
	}
	return f
}

// ofClock compares clocks. Without a skew, a server on this machine proves nothing: it has the same clock.
func ofClock(what, addr string, offset func() (time.Duration, bool)) Finding {
	f := Finding{Check: "clock", Result: OK, Says: "within 2s of the " + what + "'s"}
	skew, known := offset()
	switch host, _, _ := net.SplitHostPort(strings.TrimPrefix(addr, "https://")); {
	case !known:
		f.Result, f.Says = NotChecked, "the "+what+" does not tell its time"
	case skew.Abs() > fleet.ClockTolerance:
		way := "ahead of"
		if skew < 0 {
			way = "behind"
		}
		f.Result, f.Says = Warning, fmt.Sprintf("this machine's clock is %s or more %s the %s's; correct the wrong one, "+
			"see `timedatectl`", skew.Abs().Round(time.Second), way, what)
	case host == "localhost" || host == "unix" || net.ParseIP(host).IsLoopback() || strings.HasPrefix(addr, "/"):
		f.Result = NotChecked
		f.Says = "the " + what + " is on this machine, and has the same clock; compare it with another one's, by `date -u`"
	}
	return f
}

// unasked is a finding about something that the store did not tell. Why it does not answer is a finding of its own.
func unasked(err error, g kv.Guide) Finding {
	if errors.Is(err, kv.ErrUnreachable) || errors.Is(err, kv.ErrNotStore) {
		return found(NotChecked, "the store does not answer; see its finding")
	}
	return found(NotChecked, "%s", g.Explain(err))
}
