package gate

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"strconv"
	"strings"

	"kvexpress/internal/kv"
	"kvexpress/internal/safetext"
)

// Percent is a limit in hundredths of a percent. Its zero value is no limit; it is a pflag.Value.
type Percent struct {
	set        bool
	hundredths int
}

// Set reads 20, 20% or 2.5%, at most 100.
func (p *Percent) Set(text string) error {
	number := strings.TrimSuffix(text, "%")
	whole, part, _ := strings.Cut(number, ".")
	n, err := strconv.ParseUint(whole+(part + "00")[:2], 10, 16)
	if err != nil || whole == "" || len(part) > 2 || strings.HasSuffix(number, ".") || n > 100_00 {
		return fmt.Errorf("%s is not a percentage; give one from 0%% to 100%%, such as 20%% or 2.5%%", kv.Quote(text))
	}
	*p = Percent{set: true, hundredths: int(n)}
	return nil
}

func (p Percent) String() string {
	if !p.set {
		return ""
	}
	return percent(p.hundredths)
}

// Of is this part of n, rounded up.
func (p Percent) Of(n int) int { return (n*p.hundredths + 100_00 - 1) / 100_00 }

// MarshalText is the value as text; without a limit it is empty.
func (p Percent) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads what Set reads.
func (p *Percent) UnmarshalText(b []byte) error { return p.Set(string(b)) }

// Type is the name of the value in help.
func (*Percent) Type() string { return "percentage" }

// Limits are how much new content may differ from the live one.
type Limits struct {
	Shrink Percent // fewer lines
	Change Percent // lines lost, or gained: the larger number counts
	Policy bool    // they are of the key's policy, not of flags
}

// Any reports whether there is a limit.
func (l Limits) Any() bool { return l.Shrink.set || l.Change.set }

// Change is how new content differs from the live one. A line that moves is not a change.
type Change struct {
	Before int      `json:"lines_before"`
	After  int      `json:"lines_after"`
	Lost   int      `json:"lines_lost"`
	Gained int      `json:"lines_gained"`
	Lines  []string `json:"lost,omitempty"` // the first lost lines, at most 10, safe to print
}

const (
	maxLost     = 10  // lines
	maxLostLine = 160 // bytes
)

// Compare counts the lines that are lost and gained. It holds a number for each line that differs from all others, not the line.
func Compare(before, after []byte) Change {
	var c Change
	seed, surplus := maphash.MakeSeed(), map[uint64]int{}
	each := func(text []byte, do func(sum uint64, line []byte)) {
		for line := range bytes.Lines(text) {
			line = bytes.TrimSuffix(line, []byte("\n"))
			do(maphash.Bytes(seed, line), line)
		}
	}
	each(before, func(sum uint64, _ []byte) { c.Before++; surplus[sum]++ })
	each(after, func(sum uint64, _ []byte) { c.After++; surplus[sum]-- })
	each(before, func(sum uint64, line []byte) {
		if surplus[sum] <= 0 {
			return
		}
		surplus[sum]--
		if c.Lost++; c.Lost <= maxLost {
			c.Lines = append(c.Lines, safetext.Line(string(line[:min(len(line), 2*maxLostLine)]), maxLostLine))
		}
	})
	for _, n := range surplus {
		c.Gained -= n
	}
	return c
}

// Check refuses a change beyond the limits. A live version without lines has no limits. The error is a *Refusal.
func (l Limits) Check(k kv.Key, c Change) error {
	if c.Before == 0 {
		return nil
	}
	var what, flags []string
	for _, limit := range []struct {
		flag, rule, what string
		lines            int
		Percent
	}{
		{"--max-shrink", "max_shrink", "fewer lines", c.Before - c.After, l.Shrink},
		{"--max-change", "max_change", "of the lines changed", max(c.Lost, c.Gained), l.Change},
	} {
		if l.Policy {
			limit.flag = limit.rule + " of its policy"
		}
		if !limit.set || limit.lines*100_00 <= limit.hundredths*c.Before {
			continue
		}
		is := (limit.lines*100_00 + c.Before - 1) / c.Before
		what = append(what, fmt.Sprintf("%s %s, %s allows %s", percent(is), limit.what, limit.flag, percent(limit.hundredths)))
		if is > 100_00 {
			flags = append(flags, "without "+limit.flag)
		} else {
			flags = append(flags, "with "+limit.flag+" "+percent(is))
		}
	}
	if len(what) == 0 {
		return nil
	}
	remedy := "run it again " + strings.Join(flags, " and ")
	if l.Policy {
		remedy = fmt.Sprintf("change the policy with `kvexpress policy set -k %s --file FILE`", k)
	}
	return &Refusal{
		Reason: Changed, Key: k, Change: &c,
		Detail: fmt.Sprintf("%s, the live version has %d; %s", countLines(c.After), c.Before, strings.Join(what, "; ")),
		Remedy: "check its source; if it is right, " + remedy,
	}
}

func percent(hundredths int) string {
	return strconv.FormatFloat(float64(hundredths)/100, 'f', -1, 64) + "%"
}
