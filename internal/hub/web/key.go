package web

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"kvexpress/internal/cli/render"
	"kvexpress/internal/fleet"
	"kvexpress/internal/gate"
	"kvexpress/internal/kv"
	"kvexpress/internal/outcome"
)

type keyBody struct {
	query
	fleet.Report
	Share     string // in percent
	Stop      *gate.Stopped
	StopSince string
	Rest      string
	Clocks    []string
	Rollout   *rolloutBody // nil: there was none
	Acts      bool         // the caller may act
	Table     table[keyRow]
	Choices   []choice
	Points    string // path of what the pictures show
	Seq       int64  // of the points
}

// keyRow is one node.
type keyRow struct {
	fleet.Line
	Took *fleet.Millis
	Why  string
}

// keyOf finds the key of the path, for a caller that may read it.
func (w *Web) keyOf(a *asked) (kv.Key, error) {
	k, err := kv.ParseKey(a.rest)
	live, ok := a.live[k]
	if err != nil || !ok || string(k) != a.rest {
		return "", &problem{http.StatusNotFound, fmt.Sprintf("The key %s is not published, and no node reports it.", kv.Quote(a.rest))}
	}
	if live.Err != nil {
		return "", &problem{http.StatusBadGateway, "The state of " + a.rest + " is unknown: " + render.Error(live.Err)}
	}
	may, err := w.readable(a, k)
	if err != nil {
		return "", err
	}
	if !may[k] {
		return "", &problem{http.StatusForbidden, "the token may not read the key " + a.rest +
			"; `kvexpress acl operator` prints the policy that it needs"}
	}
	return k, nil
}

func (w *Web) key(a *asked) (view, error) {
	k, err := w.keyOf(a)
	if err != nil {
		return view{}, err
	}
	a.past.use(k)
	r := a.detail(k)
	b := keyBody{query: a.query, Report: *r, Rest: notUpToDate(*r), Points: "/points/" + escapePath(string(k)),
		Seq: a.taken.UnixMilli(), Acts: w.o.MayAct(a.r) == nil}
	if r.Nodes > 0 {
		b.Share = fmt.Sprintf("%.1f", float64(int(r.Share()*1000))/10) // 99.97 is not 100
	}
	if live := a.live[k]; live.Stopped() {
		since, _ := kv.FreezeTimes(live.Stop.Flags)
		b.Stop, b.StopSince = &gate.Stopped{Key: k, Reason: live.Stop.Reason()}, render.Ago(since, time.Now())
	}
	for _, c := range r.Clocks {
		who := map[string]string{"publisher": "the publisher", "hub": "the hub", "here": "this machine"}[c.Who]
		b.Clocks = append(b.Clocks, fmt.Sprintf("The clock of %s is %s; it is not used for times.", render.Line(cmp.Or(who, c.Node)),
			clock(c.Off)))
	}
	b.Rollout = w.rollout(a, k)
	outputs := w.mayReadData(a, k)[k]
	count, rows, total := map[string]int{}, []keyRow{}, 0
	for _, l := range r.Lines {
		if !a.has(l.Node) {
			continue
		}
		total++
		count[string(l.Outcome)]++
		if a.State != "" && a.State != string(l.Outcome) {
			continue
		}
		if !outputs {
			l.Output = ""
		}
		rows = append(rows, keyRowOf(*r, l))
	}
	var states []string
	for _, row := range outcome.All() {
		states = append(states, string(row.Outcome))
	}
	b.Choices = a.choices(total, states, count, func(s string) string { return outcome.Outcome(s).Text() })
	q := a.query
	if q.Sort == "" {
		q.Sort, q.Desc = "outcome", true
	}
	b.Table = tableOf(q, rows,
		sorter[keyRow]{"node", "Node", words, by(func(r keyRow) string { return r.Node })},
		sorter[keyRow]{"outcome", "Outcome", worst, by(func(r keyRow) int { return r.Outcome.Rank() })},
		sorter[keyRow]{"version", "Version", number, by(func(r keyRow) uint64 { return r.Version })},
		sorter[keyRow]{"delivered", "Delivered", number, by(func(r keyRow) fleet.Millis {
			if r.Took == nil {
				return -1
			}
			return *r.Took
		})},
		sorter[keyRow]{"since", "For", number, by(func(r keyRow) fleet.Millis { return r.Since })},
		sorter[keyRow]{"seen", "Last seen", number, by(func(r keyRow) fleet.Millis { return r.LastSeen })},
		sorter[keyRow]{label: "Why"})
	return view{string(k), b.markup()}, nil
}

func keyRowOf(r fleet.Report, l fleet.Line) keyRow {
	row := keyRow{Line: l, Why: l.Detail}
	if took, ok := l.Delivered(); ok {
		ms := fleet.Millis(took)
		row.Took = &ms
	}
	if l.Outcome == outcome.Outdated && l.Detail == "" {
		row.Why = fmt.Sprintf("version %d is live", r.Version)
	}
	return row
}

// points answers with what the pictures of a key show, in JSON.
func (w *Web) points(rw http.ResponseWriter, r *http.Request) {
	s, err := w.ready(r)
	if err != nil {
		w.fail(rw, r, err)
		return
	}
	a := &asked{ctx: r.Context(), r: r, snapshot: s, rest: r.PathValue("key")}
	k, err := w.keyOf(a)
	if err != nil {
		w.fail(rw, r, err)
		return
	}
	b, err := s.once("points "+string(k), func() ([]byte, error) { return json.Marshal(s.past.plot(k, s.detail(k))) })
	if err != nil {
		w.fail(rw, r, err)
		return
	}
	rw.Header().Set("Content-Type", "application/json")
	_, _ = rw.Write(b) //nolint:gosec // JSON, which nosniff keeps from being seen as HTML; it fails if the client has disconnected
}
