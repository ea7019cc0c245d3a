package cli

import (
	"cmp"
	"fmt"
	"math"
	"strings"
	"time"

	"kvexpress/internal/cli/render"
	"kvexpress/internal/fleet"
	"kvexpress/internal/kv"
	"kvexpress/internal/outcome"
)

// maxNamed is how many nodes are named without --all.
const maxNamed = 20

// statusReport is the status of one key.
type statusReport struct {
	fleet.Report
	frozen
	verified
	Waited *waitReport `json:"wait,omitempty"`

	all    bool
	now    time.Time
	colour bool
}

func (r *statusReport) lines() []string {
	lines := []string{r.headline(), "  " + countOf(r.Report, r.colour)}
	if w := r.Waited; w != nil {
		lines = append(lines, "  waited       "+render.Took(time.Duration(w.Took)))
	}
	lines = append(lines, times(r.Report)...)
	lines = append(lines, clocks(r.Report)...)
	lines = append(lines, r.verified.lines(r.colour)...)
	lines = append(lines, r.frozen.lines(r.now, r.colour)...)
	return append(lines, stragglers(r.Report, r.all)...)
}

// terms says when a stop or lock was set and when it ends, as far as known: " (set 2m ago, ends in 58m)".
func terms(since, until, now time.Time) string {
	var parts []string
	if !since.IsZero() {
		parts = append(parts, "set "+render.Span(now.Sub(since))+" ago")
	}
	if !until.IsZero() {
		parts = append(parts, "ends in "+render.Span(until.Sub(now)))
	}
	if len(parts) == 0 {
		return ""
	}
	return " (" + strings.Join(parts, ", ") + ")"
}

func (f frozen) lines(now time.Time, colour bool) []string {
	var lines []string
	for _, s := range f.Stops {
		lines = append(lines, "  "+render.Line(string(s.Key))+" is "+render.Paint(colour, render.Red,
			"stopped")+" in the whole fleet"+
			terms(s.Since, time.Time{}, now)+": "+render.Line(s.Reason))
	}
	for _, l := range f.Locks {
		name := l.name()
		if l.File == "" {
			name = "a file (path hash " + name + ")"
		}
		text := fmt.Sprintf("  %s is %s on %s%s", render.Line(name), render.Paint(colour, render.Yellow, "locked"),
			render.Line(l.where()), terms(l.Since, l.Until, now))
		lines = append(lines, text+": "+render.Line(l.Reason))
	}
	if f.Hidden != "" {
		lines = append(lines, "  more stops and locks may exist: "+render.Line(f.Hidden))
	}
	return lines
}

func (r *statusReport) headline() string {
	text := fmt.Sprintf("%s: %s", r.Key, render.Version(r.Version))
	if r.Published != nil {
		text += fmt.Sprintf(", published %s ago by %s", render.Span(time.Duration(r.Ago)), r.By)
	}
	if r.Message != "" {
		text += ": " + r.Message
	}
	return render.Line(text)
}

// countOf counts the nodes: "1186 of 1188 nodes up to date (99.8 %), 2 locked, 1 no contact".
func countOf(r fleet.Report, colour bool) string {
	if len(r.Outcomes)+len(r.Unread) == 0 {
		return "no node reports this key; agents report it, and `kvexpress out` after a change"
	}
	how := render.Green
	if r.Converged < r.Nodes || r.Nodes == 0 {
		how = render.Yellow
	}
	text := render.Paint(colour, how, fmt.Sprintf("%d of %s", r.Converged, render.Plural(r.Nodes, "node"))) + " up to date"
	if r.Nodes > 0 {
		text += " (" + percent(r) + ")"
	}
	if n := len(r.Unread); n > 0 {
		text += ", " + render.Plural(n, "receipt") + " unreadable"
	}
	if rest := notUpToDate(r); rest != "" {
		text += ", " + rest
	}
	return text
}

// notUpToDate counts the nodes that are not up to date: "1 exec pending, 2 no contact".
func notUpToDate(r fleet.Report) string {
	var parts []string
	for _, row := range outcome.All() {
		if n := r.Outcomes[row.Outcome]; n > 0 && row.Outcome != outcome.Converged {
			parts = append(parts, fmt.Sprintf("%d %s", n, row.Outcome.Text()))
		}
	}
	return strings.Join(parts, ", ")
}

// times has the percentiles.
func times(r fleet.Report) []string {
	var lines []string
	for _, row := range []struct {
		what string
		of   fleet.Percentiles
	}{{"delivered", r.Delivered}, {"on the node", r.OnNode}, {"exec", r.Exec}} {
		if row.of.Count > 0 {
			lines = append(lines, fmt.Sprintf("  %-12s %s", row.what, percentiles(row.of)))
		}
	}
	if r.Unmeasured > 0 && r.Delivered.Count > 0 {
		lines = append(lines, fmt.Sprintf("               (%s not measured)", render.Plural(r.Unmeasured, "node")))
	}
	return lines
}

// clocks lists wrong clocks.
func clocks(r fleet.Report) []string {
	var lines []string
	for i, c := range r.Clocks {
		if i == maxNamed {
			return append(lines, fmt.Sprintf("  and %d more wrong clocks, see --json", len(r.Clocks)-i))
		}
		who := map[string]string{"node": "the clock of " + c.Node, "publisher": "the publisher's clock",
			"hub": "the hub's clock", "here": "this machine's clock"}[c.Who]
		off := time.Duration(c.Off)
		lines = append(lines, fmt.Sprintf("  %s is %s by about %s; it is not used for times", render.Line(who), ahead(off),
			render.Span(off.Abs())))
	}
	return lines
}

func ahead(off time.Duration) string {
	if off < 0 {
		return "behind"
	}
	return "ahead"
}

// stragglers has tables of nodes that have not converged, and of nodes without contact.
func stragglers(r fleet.Report, all bool) []string {
	most := maxNamed
	if all {
		most = math.MaxInt
	}
	lines := listed([]string{"NODE", "VERSION", "OUTCOME", "FOR", "LAST SEEN", "WHY"}, r.Stragglers, most,
		func(l fleet.Line) []string {
			return []string{l.Node, render.Number(l.Version, "-"), l.Outcome.Text(), render.Span(time.Duration(l.Since)),
				render.Span(time.Duration(l.LastSeen)) + " ago", why(l)}
		}, firstLines)
	lines = append(lines,
		listed([]string{"NO CONTACT", "VERSION", "LAST SEEN", "LAST OUTCOME"}, r.NoContact, most, func(l fleet.Line) []string {
			return []string{l.Node, render.Number(l.Version, "-"), render.Span(time.Duration(l.LastSeen)) + " ago", l.Reported.Text()}
		}, nil)...)
	if r.Omitted > 0 {
		lines = append(lines, "  "+omitted(r.Omitted))
	}
	lines = append(lines, receiptsLeftOut(r.LeftOut)...)
	return append(lines, listed([]string{"UNREADABLE", "WHY"}, r.Unread, most,
		func(u fleet.Unread) []string { return []string{u.Node, u.Why} }, nil)...)
}

// maxOutputLines is how many lines of a command's output are shown.
const maxOutputLines = 5

// firstLines are of the output of the command that failed.
func firstLines(l fleet.Line) []string {
	lines := outputLines(l.Output)
	if more := len(lines) - maxOutputLines; more > 0 {
		lines = append(lines[:maxOutputLines], fmt.Sprintf("… and %d more lines, see --json", more))
	}
	return lines
}

// listed is a table of most rows at most, after a blank line; nothing if there are none. below has lines below a row; nil: none.
func listed[T any](head []string, all []T, most int, row, below func(T) []string) []string {
	if len(all) == 0 {
		return nil
	}
	rows := [][]string{head}
	for _, x := range all[:min(most, len(all))] {
		rows = append(rows, row(x))
	}
	under := func(n int) []string { return below(all[n]) }
	if below == nil {
		under = nil
	}
	lines := append([]string{""}, render.TableWith(rows, nil, under)...)
	if more := len(all) - most; more > 0 {
		lines = append(lines, fmt.Sprintf("and %d more, see --all", more))
	}
	return lines
}

func why(l fleet.Line) string {
	const late = "the live version is not reported yet"
	switch outdated := l.Outcome == outcome.Outdated; {
	case outdated && l.Detail == "":
		return late
	case outdated && l.Detail == l.File: // one of several files, without a detail
		return l.File + ": " + late
	}
	detail := l.Detail
	if l.Outcome == outcome.Locked { // its remedy lacks --node: it works on the node only
		detail, _, _ = strings.Cut(detail, "; to undo: ")
	}
	if rest, ok := strings.CutPrefix(detail, l.File+": "); ok && strings.HasPrefix(rest, l.File+" ") {
		detail = rest
	}
	return cmp.Or(detail, "-")
}

// statusOfAllReport is a line for each key.
type statusOfAllReport struct {
	Keys []fleet.Report `json:"keys"`
	frozen
	verified
	// Unknown are keys without a known state: nodes report them, but the token may not
	// read them.
	Unknown []unknownKey `json:"unknown"`
	// Unread are receipts that cannot be used, and Omitted nodes with more targets than
	// fit into a receipt: these are not counted for the keys above.
	Unread  []fleet.Unread `json:"unread"`
	Omitted int            `json:"omitted,omitempty"`
	// NodesLeft are the nodes whose receipts were left out, see fleet.ErrLeftOut.
	NodesLeft []string `json:"nodes_left_out,omitempty"`
	// MoreKeys is how many keys nodes report that are not published, and not shown.
	MoreKeys int `json:"more_keys,omitempty"`
	// Left are the folders with too much in them, whose keys may be missing here.
	Left []string `json:"left_out,omitempty"`

	now    time.Time
	colour bool
}

type unknownKey struct {
	Key string `json:"key"`
	Why string `json:"why"`
}

func (r *statusOfAllReport) lines() []string {
	if len(r.Keys)+len(r.Unknown) == 0 {
		text := "nothing is published, and no node reports a key"
		if r.Hidden != "" {
			text = "this token cannot read any key"
		}
		return append(append([]string{text}, r.notes()...), r.frozen.lines(r.now, r.colour)...)
	}
	rows := [][]string{{"KEY", "VERSION", "PUBLISHED", "UP TO DATE", "P50", "SLOWEST", "NOT UP TO DATE"}}
	for _, k := range r.Keys {
		published, version := "-", render.Number(k.Version, "unmanaged")
		if !k.Exists {
			version = "none"
		}
		if k.Published != nil {
			published = render.Span(time.Duration(k.Ago)) + " ago"
		}
		p50, last := "-", "-"
		if k.Delivered.Count > 0 {
			p50, last = render.Took(time.Duration(k.Delivered.P50)), render.Took(time.Duration(k.Delivered.Slowest))
		}
		share := "-"
		if k.Nodes > 0 && k.Exists {
			share = fmt.Sprintf("%d of %d", k.Converged, k.Nodes)
		}
		rows = append(rows, []string{k.Key, version, published, share, p50, last, cmp.Or(notUpToDate(k), "-")})
	}
	lines := append(render.Table(rows), r.verified.lines(r.colour)...)
	lines = append(lines, r.notes()...)
	return append(lines, r.frozen.lines(r.now, r.colour)...)
}

// notes lists what the table does not count.
func (r *statusOfAllReport) notes() []string {
	var lines []string
	for _, u := range r.Unknown {
		lines = append(lines, render.Line(u.Key)+": unknown: "+render.Line(u.Why))
	}
	if len(r.Unread) > 0 {
		lines = append(lines, fmt.Sprintf("%s cannot be read; the first is from node %s: %s", render.Plural(len(r.Unread), "receipt"),
			render.Line(r.Unread[0].Node), render.Line(r.Unread[0].Why)))
	}
	if r.Omitted > 0 {
		lines = append(lines, omitted(r.Omitted))
	}
	lines = append(lines, receiptsLeftOut(r.NodesLeft)...)
	if r.MoreKeys > 0 {
		lines = append(lines, fmt.Sprintf("nodes report %d more keys that are not published", r.MoreKeys))
	}
	if len(r.Left) > 0 {
		lines = append(lines, leftOut(r.Left))
	}
	return lines
}

// leftOut names folders with too many rows to list.
func leftOut(left []string) string {
	text := "too many rows below " + kv.Quote(left[0])
	if len(left) > 1 {
		text += fmt.Sprintf(" and %d more folders", len(left)-1)
	}
	return text + fmt.Sprintf(": keys there may be missing; `kvexpress kv export %s` shows all", left[0])
}

// receiptsLeftOut names nodes whose receipts were not read.
func receiptsLeftOut(nodes []string) []string {
	if len(nodes) == 0 {
		return nil
	}
	text := fmt.Sprintf("receipts of %s were not read: all receipts together have more than %d MiB; "+
		"`kvexpress forget NODE` removes one: %s",
		render.Plural(len(nodes), "node"), fleet.MaxDecoded>>20, strings.Join(nodes[:min(maxNamed, len(nodes))], ", "))
	if len(nodes) > maxNamed {
		text += ", …"
	}
	return []string{render.Line(text)}
}

// omitted explains why files are not counted.
func omitted(nodes int) string {
	return render.Plural(nodes, "node") + " with more files than fit into a receipt; the files that do not fit are not counted"
}
