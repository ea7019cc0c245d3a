package web

import (
	"cmp"
	"fmt"
	"html"
	"strings"
	"time"

	"kvexpress/internal/cli/render"
	"kvexpress/internal/fleet"
	"kvexpress/internal/kv"
	"kvexpress/internal/outcome"
)

// markup is HTML. Constants of this package become markup by themselves. Every other text goes through h, which escapes it.
// html/template would do the same, but makes the program 2.1 MB larger: the linker then keeps all methods.
type markup string

// block is a text of several lines. Every other text is shown on one line.
type block string

// h puts a value into the format for each %s. It escapes all values that are no markup. Within a tag, %s needs quotes around it.
func h(format markup, values ...any) markup {
	safe := make([]any, len(values))
	for i, v := range values {
		safe[i] = escape(v)
	}
	return markup(fmt.Sprintf(string(format), safe...))
}

func escape(value any) markup {
	switch v := value.(type) {
	case markup:
		return v
	case block:
		return markup(html.EscapeString(string(v)))
	}
	return markup(html.EscapeString(render.Line(fmt.Sprint(value))))
}

// when is h if the condition holds, else nothing.
func when(holds bool, format markup, values ...any) markup {
	if !holds {
		return ""
	}
	return h(format, values...)
}

// either is the first value if the condition holds, else the second.
func either[T any](holds bool, yes, no T) T {
	if holds {
		return yes
	}
	return no
}

// with is h if the text is not empty, else nothing.
func with(text string, format markup) markup { return when(text != "", format, text) }

// each is one element after the other.
func each[T any](rows []T, show func(T) markup) markup {
	var b strings.Builder
	for _, row := range rows {
		b.WriteString(string(show(row)))
	}
	return markup(b.String())
}

func cell(v any) markup       { return h(`<td>%s</td>`, v) }
func numCell(v any) markup    { return h(`<td class="num">%s</td>`, v) }
func whyCell(v any) markup    { return h(`<td class="why">%s</td>`, v) }
func dash(s string) string    { return cmp.Or(s, "–") }
func version(v uint64) string { return render.Number(v, "–") }

func span(m fleet.Millis) string { return render.Span(time.Duration(m)) }
func took(m fleet.Millis) string { return render.Took(time.Duration(m)) }

// tookIf is a dash for a step that did not run.
func tookIf(m fleet.Millis) string { return either(m != 0, took(m), "–") }

func keyLink(k string) markup  { return h(`<a href="/key/%s">%s</a>`, escapePath(k), k) }
func nodeLink(n string) markup { return h(`<a href="/node/%s">%s</a>`, escapePath(n), n) }

func progress(done, of int) markup {
	return h(`<progress max="%s" value="%s" aria-hidden="true"></progress>`, of, done)
}

func outcomeMark(o outcome.Outcome) markup {
	return h(`<span class="o o-%s">%s</span>`, o, o.Text())
}

// whyOutput is why something failed, and what its command printed.
func whyOutput(why, output string) markup {
	return whyCell(h("%s%s", why, when(output != "", `<pre>%s</pre>`, block(output))))
}

// markup is the table with links to its other pages. none is shown in place of rows.
func (t table[T]) markup(caption string, none markup, row func(T) markup) markup {
	rows := each(t.Rows, func(r T) markup { return t.labeled(row(r)) })
	if len(t.Rows) == 0 {
		rows = when(none != "", `<tr><td colspan="%s">%s</td></tr>`, len(t.Columns), none)
	}
	pager := when(t.Prev+t.Next != "", `<nav class="pager" aria-label="Pages of the table">%s <span>%s to %s of %s</span> %s</nav>`,
		with(t.Prev, `<a href="%s" rel="prev">← previous 100</a>`), t.From, t.To, t.Total,
		with(t.Next, `<a href="%s" rel="next">next 100 →</a>`))
	return h(`<div class="scroll"><table><caption class="hide">%s</caption><thead><tr>%s</tr></thead>
<tbody>%s</tbody></table></div>
%s`, caption, each(t.Columns, column.markup), rows, pager)
}

// labeled gives the cells of a row the labels of their columns: a narrow window shows them in front of the values.
func (t table[T]) labeled(row markup) markup {
	cells := strings.Split(string(row), "<td") // h has escaped all others
	heads := strings.Count(cells[0], "<th")
	for i, c := range cells[1:] {
		if !strings.HasPrefix(c, " colspan") && heads+i < len(t.Columns) {
			cells[1+i] = string(h(` data-label="%s"`, t.Columns[heads+i].Label)) + c
		}
	}
	return markup(strings.Join(cells, "<td"))
}

func (c column) markup() markup {
	label := h("%s%s", c.Label, map[string]string{"ascending": " ▲", "descending": " ▼"}[c.Aria])
	return h(`<th scope="col" class="%s" aria-sort="%s">%s</th>`, either(c.Num, "num", ""), cmp.Or(c.Aria, "none"),
		either(c.Link != "", h(`<a href="%s">%s</a>`, c.Link, label), label))
}

func (c choice) markup() markup {
	return h(`<a href="%s" aria-current="%s">%s <span>%s</span></a>`, c.Link, c.Active, c.Label, c.Count)
}

func choicesMarkup(all []choice) markup {
	return h(`<nav class="choices" aria-label="Filter by state">%s</nav>
`, each(all, choice.markup))
}

// filter says that a table shows some names only.
func (q query) filter() markup {
	return when(q.Q != "", `<p>Names with “%s” · <a href="%s">show all</a></p>`, q.Q, q.Path)
}

// shown is a page around a view.
type shown struct {
	view
	Live     string // the path of the stream
	Hub      string
	Version  string
	Search   string
	Login    string // the path of this page, as a part of a query
	LoggedIn bool
	Stale    string // why the fleet could not be read again
	Taken    time.Time
}

// live is the part that changes.
func (s shown) live() markup {
	return when(s.Stale != "", `<p class="bad" role="alert">The fleet cannot be read: %s. This is how it was at %s.</p>`,
		s.Stale, render.Time(s.Taken)) + s.Body
}

func (s shown) page() markup {
	id := filesID()
	return h(`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>%s · kvexpress</title>
<link rel="icon" href="/assets/icon.svg?%s" type="image/svg+xml">
<link rel="stylesheet" href="/assets/uplot.css?%s">
<link rel="stylesheet" href="/assets/page.css?%s">
<script src="/assets/uplot.js?%s" defer></script>
<script src="/assets/page.js?%s" type="module"></script>
</head>
<body>
<a class="skip" href="#live">Skip to the content</a>
<header>
<a class="brand" href="/fleet">kvexpress</a>
<nav aria-label="Views"><a href="/fleet">Fleet</a> <a href="/nodes">Nodes</a></nav>
%s
<form action="/search" role="search"><input type="search" name="q" value="%s" maxlength="256"
aria-label="Search a key, a node or a state" placeholder="Search a key, a node or a state"><button>Search</button></form>
</header>
<p id="link" class="warn" role="status" hidden></p>
<main data-live="%s" id="live">%s</main>
<footer>%skvexpress %s</footer>
</body>
</html>
`, s.Title, id, id, id, id, id, either(s.LoggedIn, `<form action="/logout" method="post"><button>Forget token</button></form>`,
		with(s.Login, `<a href="/login?at=%s">Give a token</a>`)), s.Search, s.Live, s.live(), with(s.Hub, "Hub %s · "), s.Version)
}

func errorMarkup(title, text string) markup {
	return h(`<h1>%s</h1>
<p class="bad" role="alert">%s</p>
<p><a href="/fleet">Fleet</a> · <a href="/nodes">Nodes</a></p>`, title, text)
}

func loginMarkup(why, at string) markup {
	return h(`<h1>Token</h1>
%s
<form class="login" action="/login" method="post"><input type="hidden" name="at" value="%s">
<label for="token">Token of Consul, or of this hub's store</label>
<input id="token" type="password" name="token" required maxlength="2048" autocomplete="off" spellcheck="false">
<button>Read the fleet</button></form>
<p>The token must be able to read the receipts; <code>kvexpress acl operator</code> prints the policy. It stays in a cookie until
the browser is closed.</p>`, with(why, `<p class="bad" role="alert">%s</p>`), block(at))
}

// actLink leads to the form of an action. more is the rest of its query.
func actLink(k, do, more, label string) markup {
	return h(`<a class="act" href="/act/%s?do=%s%s">%s…</a>`, escapePath(k), do, more, label)
}

// markup is the form of an action. After an error, why says what went wrong.
func (o order) markup(t touch, command, why string) markup {
	title := fmt.Sprintf(cmp.Or(actions[o.do].title, "%s"), o.key)
	hidden := func(name string, value any) markup {
		return h(`<input type="hidden" name="%s" value="%s">`, name, block(fmt.Sprint(value)))
	}
	key := h(`<a href="/key/%s">Back to %s</a>`, escapePath(string(o.key)), o.key)
	return h(`<h1>%s</h1>
%s%s
<form class="login" action="/act/%s" method="post">%s
<label for="reason">Reason, shown in events, status and history</label>
<input id="reason" name="reason" value="%s" required maxlength="%s" autocomplete="off" autofocus>
<button>%s</button></form>
<p>%s</p>
<p>The same with the command line: <code>%s</code></p>`, title, with(why, `<p class="bad" role="alert">%s</p>`),
		when(t.Does != "", `<p>%s</p><p class="big">%s%s</p>`, t.Does, t.Nodes, with(t.Diff, ` · <a href="%s">what changes</a>`)),
		escapePath(string(o.key)), hidden("do", o.do)+hidden("was", o.was)+hidden("to", o.to)+hidden("live", o.live)+
			hidden("rollout", o.rollout)+hidden("state", o.state)+hidden("stage", o.stage), o.reason, kv.MaxMessage, title, key, command)
}
