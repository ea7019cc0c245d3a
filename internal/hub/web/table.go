package web

import (
	"cmp"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

const (
	pageRows = 100
	maxQuery = 256 // bytes of a search
)

// query is the part of a URL that says what a table shows.
type query struct {
	Path  string // escaped
	Q     string // text that names must have
	State string // outcome that rows must have
	Sort  string // column; "": the order of the view
	Desc  bool
	Page  int // from 1
}

func parseQuery(u *url.URL) query {
	v := u.Query()
	q := query{Path: u.EscapedPath(), Q: cut(v.Get("q")), State: cut(v.Get("state")), Sort: cut(v.Get("sort")), Page: 1}
	q.Sort, q.Desc = strings.TrimPrefix(q.Sort, "-"), strings.HasPrefix(q.Sort, "-")
	if n, err := strconv.Atoi(v.Get("page")); err == nil && n > 0 {
		q.Page = n
	}
	return q
}

func cut(s string) string { return strings.ToValidUTF8(s[:min(len(s), maxQuery)], "") }

// link is the URL of the query.
func (q query) link() string {
	v := url.Values{}
	set := func(name, value string) {
		if value != "" {
			v.Set(name, value)
		}
	}
	set("q", q.Q)
	set("state", q.State)
	if q.Sort != "" {
		v.Set("sort", map[bool]string{true: "-"}[q.Desc]+q.Sort)
	}
	if q.Page > 1 {
		v.Set("page", strconv.Itoa(q.Page))
	}
	if len(v) == 0 {
		return q.Path
	}
	return q.Path + "?" + v.Encode()
}

// column is the head of a column. Without a link it cannot be sorted.
type column struct {
	Label string
	Num   bool
	Link  string
	Aria  string // "ascending", "descending" or ""
}

// kind says how a column is shown and sorted.
type kind int

const (
	words  kind = iota // the first one on top
	worst              // words, the last one on top
	number             // to the right, the largest one on top
)

// sorter is a column with its order.
type sorter[T any] struct {
	name, label string
	as          kind
	compare     func(a, b T) int // nil: the column cannot be sorted
}

// table is one page of the rows of a view.
type table[T any] struct {
	Columns    []column
	Rows       []T
	Total      int
	From, To   int // of the rows on this page, from 1
	Prev, Next string
}

// tableOf sorts the rows and cuts out a page.
func tableOf[T any](q query, rows []T, columns ...sorter[T]) table[T] {
	t := table[T]{Total: len(rows)}
	for _, c := range columns {
		head := column{Label: c.label, Num: c.as == number}
		if c.compare != nil {
			other := q
			other.Sort, other.Page, other.Desc = c.name, 1, c.as != words
			if q.Sort == c.name {
				other.Desc = !q.Desc
				head.Aria = map[bool]string{true: "descending", false: "ascending"}[q.Desc]
				slices.SortStableFunc(rows, func(a, b T) int {
					if q.Desc {
						return c.compare(b, a)
					}
					return c.compare(a, b)
				})
			}
			head.Link = other.link()
		}
		t.Columns = append(t.Columns, head)
	}
	pages := max(1, (len(rows)+pageRows-1)/pageRows)
	q.Page = min(q.Page, pages)
	from, to := (q.Page-1)*pageRows, min(q.Page*pageRows, len(rows))
	t.Rows, t.From, t.To = rows[from:to], from+1, to
	if other := q; q.Page > 1 {
		other.Page--
		t.Prev = other.link()
	}
	if other := q; q.Page < pages {
		other.Page++
		t.Next = other.link()
	}
	return t
}

// by compares rows by a value.
func by[T any, V cmp.Ordered](value func(T) V) func(a, b T) int {
	return func(a, b T) int { return cmp.Compare(value(a), value(b)) }
}

// choice is one value of the filter by state.
type choice struct {
	Label  string
	Count  int
	Link   string
	Active bool
}

// choices are links to each state, and to all.
func (q query) choices(total int, states []string, count map[string]int, label func(string) string) []choice {
	q.Page = 1
	link := func(state string) string { other := q; other.State = state; return other.link() }
	all := []choice{{"all", total, link(""), q.State == ""}}
	for _, s := range states {
		if count[s] > 0 || q.State == s {
			all = append(all, choice{label(s), count[s], link(s), q.State == s})
		}
	}
	return all
}

// has reports whether a name has the text that is searched for.
func (q query) has(name string) bool {
	return strings.Contains(strings.ToLower(name), strings.ToLower(q.Q))
}
