package web

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"kvexpress/internal/cli/render"
	"kvexpress/internal/gate"
	"kvexpress/internal/hold"
	"kvexpress/internal/kv"
	"kvexpress/internal/record"
)

var errNotRead = errors.New("your token may not read this key")

// maxDiffLines limits the lines of a diff that are shown.
const maxDiffLines = 2000

type historyBody struct {
	Key      string
	Versions []historyRow
	Events   []hold.Event
	NoEvents string // why they are not known
	From, To uint64 // of the diff; 0: there is none
	Diff     []diffLine
	NoDiff   string
}

type historyRow struct {
	record.Version
	Key     string
	Compare string // the path of the diff with the version before
	Back    bool   // the caller may roll back to it
	By, Why string
	Message string
	At      string
}

type diffLine struct{ Kind, Text string }

// history shows the kept versions of a key, and who acted on it. All of it needs the right to read the key's data.
func (w *Web) history(a *asked) (view, error) {
	k, err := kv.ParseKey(a.rest)
	if err != nil {
		return view{}, &problem{http.StatusNotFound, err.Error()}
	}
	l := w.o.Layout
	data, past, events := l.Data(k), l.HistoryManifest(k, 1), l.Events(k)
	may, err := w.rights.may(a.ctx, w.o.Token(a.r), data, past, events)
	switch {
	case err != nil:
		return view{}, err
	case !may[data] || !may[past]:
		return view{}, &problem{http.StatusForbidden, "the token may not read the data and history of " + a.rest +
			"; `kvexpress acl operator` prints the policy that it needs"}
	case !w.o.Private(a.r):
		return view{}, &problem{http.StatusForbidden, "The content of files is shown over TLS or on this machine only; give the hub " +
			"--tls-cert and --tls-key."}
	}
	h := record.History{Store: w.o.Store, Layout: l}
	list, err := h.List(a.ctx, k)
	if missing := (*gate.Missing)(nil); errors.As(err, &missing) {
		return view{}, &problem{http.StatusNotFound, err.Error()}
	} else if err != nil {
		return view{}, err
	}
	b, acts := historyBody{Key: string(k)}, w.o.MayAct(a.r) == nil
	for i, v := range list.Versions {
		row := historyRow{Version: v, Why: v.Why, Key: string(k)}
		row.Back = acts && v.Number > 0 && !v.Live && v.State.Whole()
		if m := v.Manifest; m != nil && v.State != record.Unmanaged {
			row.By, row.Message = m.By, m.Message
			if !m.PublishedAt.IsZero() {
				row.At = render.Time(m.PublishedAt)
			}
		}
		if i+1 < len(list.Versions) && v.Number > 0 && list.Versions[i+1].Number > 0 {
			row.Compare = fmt.Sprintf("%s?from=%d&to=%d", a.Path, list.Versions[i+1].Number, v.Number)
		}
		b.Versions = append(b.Versions, row)
	}
	if err := w.events(a, &b, k, may[events]); err != nil {
		return view{}, err
	}
	w.diff(a, &b, k)
	return view{string(k) + ": history", b.markup()}, nil
}

func (w *Web) events(a *asked, b *historyBody, k kv.Key, may bool) error {
	if !may {
		b.NoEvents = "Your token may not read the events of this key."
		return nil
	}
	path := w.o.Layout.Events(k)
	rows, err := w.o.Store.Read(a.ctx, kv.Default, path)
	if err != nil {
		return err
	}
	if rows[path].State == kv.Denied {
		b.NoEvents = "The hub's token may not read " + path + "."
	}
	b.Events, _ = hold.ParseEvents(rows[path].Value)
	return nil
}

// diff compares the two versions of the query.
func (w *Web) diff(a *asked, b *historyBody, k kv.Key) {
	v := a.r.URL.Query()
	from, err1 := strconv.ParseUint(v.Get("from"), 10, 63)
	to, err2 := strconv.ParseUint(v.Get("to"), 10, 63)
	if err1 != nil || err2 != nil || from == 0 || to == 0 {
		return
	}
	b.From, b.To = from, to
	both, err := record.History{Store: w.o.Store, Layout: w.o.Layout}.Read(a.ctx, k, from, to)
	if err != nil {
		b.NoDiff = render.Error(err)
		return
	}
	text, why := render.Unified(fmt.Sprintf("version %d", from), fmt.Sprintf("version %d", to), both[0].Plain, both[1].Plain)
	b.NoDiff = why
	if text == "" && why == "" {
		b.NoDiff = "Both versions have the same content."
	}
	for line := range strings.Lines(text) {
		if len(b.Diff) == maxDiffLines {
			b.NoDiff = fmt.Sprintf("The rest is not shown: `kvexpress diff -k %s %d %d` shows all.", k, from, to)
			break
		}
		kind := map[byte]string{'+': "add", '-': "del", '@': "at"}[line[0]]
		b.Diff = append(b.Diff, diffLine{kind, render.TabbedLine(line)})
	}
}
