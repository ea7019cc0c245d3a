package web_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/fleet"
	"kvexpress/internal/hold"
	"kvexpress/internal/kv"
	"kvexpress/internal/outcome"
)

func file(key string, o outcome.Outcome) fleet.Target {
	return fleet.Target{Key: key, File: "/etc/" + key, Outcome: o, Since: fleet.Millis(time.Minute)}
}

// The tables tell who has what, without a script.
func TestTables(t *testing.T) {
	w := start(t)
	w.publish("hosts", "10.0.0.1 a\n", "first")
	w.publish("hosts", "10.0.0.2 a\n", "a has moved")
	w.reports("web-1", file("hosts", outcome.Converged))
	w.reports("web-2", file("hosts", outcome.Pending))
	bad := file("hosts", outcome.Failed)
	bad.Detail = "disk full"
	w.reports("web-3", bad)
	w.shows("/fleet", "1 of 3", "1 exec pending", "ops@desk", `href="/key/hosts"`)
	w.shows("/key/hosts", "version <b>2</b>", "a has moved", "1 of 3 nodes", "33.3 %", "disk full", `href="/node/web-2"`, "password=hunter2")
	w.shows("/nodes", "web-1", "web-2", "connected", "hub-1")
	w.shows("/node/web-2", "/etc/hosts", "exec pending", "its clock is right")
	w.shows("/history/hosts?from=1&to=2", "a has moved", "-10.0.0.1 a", `<span class="add">+10.0.0.2 a`)
	if code, body := w.get("/key/none", all); code != 404 || !strings.Contains(body, "not published") {
		t.Errorf("a key that is not there: %d %s", code, body)
	}
	if code, _ := w.get("/node/none", all); code != 404 {
		t.Errorf("a node that is not there: %d", code)
	}
	for query, want := range map[string]string{"hosts": "/key/hosts", "web-3": "/node/web-3", "failed": "/nodes?state=failed",
		"web": "/nodes?q=web", "ost": "/fleet?q=ost"} {
		if at := w.ask("GET", "/search?q="+query, all, nil).Header.Get("Location"); at != want {
			t.Errorf("search %s leads to %s, want %s", query, at, want)
		}
	}
}

// A stop is shown with its reason.
func TestStop(t *testing.T) {
	w := start(t)
	w.publish("hosts", "1\n", "")
	w.shows("/fleet", "no nodes")
	f := hold.Freezer{Recorder: hold.Recorder{Store: w.store, Layout: w.layout}, By: hold.Event{Who: "ops@desk"}}
	if _, err := f.Stop(t.Context(), "hosts", "looking <b>into</b> it"); err != nil {
		t.Fatal(err)
	}
	w.shows("/fleet", "looking &lt;b&gt;into&lt;/b&gt; it")
	w.shows("/key/hosts", "stopped", "kvexpress resume -k hosts")
	w.shows("/history/hosts", "looking &lt;b&gt;", "ops@desk")
}

// Rows come 100 a page. Order, filter and page are in the URL.
func TestPagesOfATable(t *testing.T) {
	w := start(t)
	w.publish("hosts", "1\n", "")
	for i := range 250 {
		o := outcome.Converged
		if i == 77 {
			o = outcome.Pending
		}
		w.reports(fmt.Sprintf("web-%03d", i), file("hosts", o))
	}
	w.shows("/key/hosts", "249 of 250")
	rows := func(path string) []string {
		_, body := w.get(path, all)
		return regexp.MustCompile(`data-id="(web-\d+)"`).FindAllString(body, -1)
	}
	for path, want := range map[string]struct {
		n     int
		first string
	}{
		"/key/hosts":                              {100, "web-077"}, // the worst first
		"/key/hosts?sort=node":                    {100, "web-000"},
		"/key/hosts?sort=-node":                   {100, "web-249"},
		"/key/hosts?sort=node&page=3":             {50, "web-200"},
		"/key/hosts?sort=node&page=99":            {50, "web-200"},
		"/key/hosts?state=exec_pending&sort=node": {0, ""},
		"/key/hosts?state=pending":                {1, "web-077"},
		"/key/hosts?q=WEB-24&sort=node":           {10, "web-240"},
		"/nodes?sort=node&page=2":                 {100, "web-100"},
	} {
		got := rows(path)
		if len(got) != want.n || want.n > 0 && got[0] != `data-id="`+want.first+`"` {
			t.Errorf("%s: %d rows, %.1q; want %d from %s", path, len(got), got, want.n, want.first)
		}
	}
}

// Without rights, a caller gets the form for a token and no name. What a token may not read is not shown.
func TestWhoMaySee(t *testing.T) {
	w := start(t)
	w.publish("hosts", "1\n", "")
	w.publish("secret", "s3cret\n", "the message of the secret")
	w.reports("web-1", file("hosts", outcome.Pending), file("secret", outcome.Pending))
	w.shows("/fleet", "secret", "0 of 1")
	for _, path := range []string{"/fleet", "/nodes", "/key/hosts", "/node/web-1", "/history/hosts", "/points/hosts", "/search?q=web-1",
		"/live?at=/fleet"} {
		for _, token := range []string{"", nothing} {
			code, body := w.get(path, token)
			if refused := code == 403 || strings.HasPrefix(path, "/live") && strings.Contains(body, "event: ended"); !refused ||
				strings.Contains(body, "<table") || strings.Contains(body, "secret") {
				t.Errorf("%s with %q: %d %s", path, token, code, body)
			}
		}
	}
	for _, path := range []string{"/key/secret", "/history/secret", "/points/secret"} {
		if code, body := w.get(path, noSecret); code != 403 || strings.Contains(body, "s3cret") || strings.Contains(body, "message of") {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	if _, body := w.get("/fleet", noSecret); !strings.Contains(body, "may not read this key") || strings.Contains(body, "message of") {
		t.Errorf("/fleet: %s", body)
	}
	if _, body := w.get("/node/web-1", noSecret); strings.Count(body, "hunter2") != 1 {
		t.Errorf("outputs that are shown: %d, want the one of hosts", strings.Count(body, "hunter2"))
	}
	w.remote = true // without TLS
	for _, path := range []string{"/node/web-1", "/key/hosts"} {
		if code, body := w.get(path, all); code != 200 || strings.Contains(body, "hunter2") {
			t.Errorf("%s over plain HTTP: %d %s", path, code, body)
		}
	}
	if code, body := w.get("/history/hosts", all); code != 403 || !strings.Contains(body, "TLS") {
		t.Errorf("history over plain HTTP: %d %s", code, body)
	}
}

// A token stays in a cookie that no script and no other site gets. It is checked first.
func TestToken(t *testing.T) {
	w := start(t)
	w.publish("hosts", "1\n", "")
	form := func(token, at string) url.Values { return url.Values{"token": {token}, "at": {at}} }
	for _, token := range []string{"", nothing, "two words", strings.Repeat("x", 3000)} {
		if resp := w.post("/login", form(token, "/fleet"), nil); resp.StatusCode < 400 || len(resp.Cookies()) > 0 {
			t.Errorf("%.20q: %d, cookies %v", token, resp.StatusCode, resp.Cookies())
		}
	}
	resp := w.post("/login", form(all, "/key/hosts?sort=node"), nil)
	if resp.StatusCode != http.StatusSeeOther || resp.Header.Get("Location") != "/key/hosts?sort=node" || len(resp.Cookies()) != 1 {
		t.Fatalf("%d to %s", resp.StatusCode, resp.Header.Get("Location"))
	}
	c := resp.Cookies()[0]
	if !c.HttpOnly || !c.Secure || c.SameSite != http.SameSiteStrictMode || c.MaxAge != 0 || !c.Expires.IsZero() || c.Domain != "" ||
		strings.Contains(c.Value, all) {
		t.Errorf("the cookie is %s", c)
	}
	with := func(r *http.Request) { r.AddCookie(c) }
	if resp := w.ask("GET", "/key/hosts", "", with); resp.StatusCode != http.StatusOK {
		t.Errorf("with the cookie: %d", resp.StatusCode)
	}
	if resp := w.ask("GET", "/key/hosts", nothing, with); resp.StatusCode != http.StatusForbidden { // a token of the request wins
		t.Errorf("with another token: %d", resp.StatusCode)
	}
	if gone := w.post("/logout", nil, with).Cookies(); len(gone) != 1 || gone[0].MaxAge >= 0 {
		t.Errorf("after the end: %v", gone)
	}
	for _, at := range []string{"//evil.example/", "///evil.example/", "https://evil.example/", "/\\evil.example", "javascript:alert(1)", "", "/login"} {
		if to := w.post("/login", form(all, at), nil).Header.Get("Location"); to != "/fleet" {
			t.Errorf("%q leads to %q", at, to)
		}
	}
	w.remote = true
	if resp := w.post("/login", form(all, "/fleet"), nil); resp.StatusCode != http.StatusForbidden || len(resp.Cookies()) > 0 {
		t.Errorf("over plain HTTP: %d", resp.StatusCode)
	}
}

// Another site cannot make a browser send a form, neither with nor without the newer headers.
func TestNoWritesFromOtherSites(t *testing.T) {
	w := start(t)
	for name, change := range map[string]func(*http.Request){
		"another site":   func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") },
		"a sister":       func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "same-site") },
		"another origin": func(r *http.Request) { r.Header.Del("Sec-Fetch-Site"); r.Header.Set("Origin", "https://evil.example") },
		"no origin":      func(r *http.Request) { r.Header.Del("Sec-Fetch-Site"); r.Header.Set("Origin", "null") },
	} {
		if resp := w.post("/login", url.Values{"token": {all}, "at": {"/fleet"}}, change); resp.StatusCode != http.StatusForbidden || len(resp.Cookies()) > 0 {
			t.Errorf("%s: %d", name, resp.StatusCode)
		}
	}
	for _, path := range []string{"/fleet", "/logout", "/live"} {
		if resp := w.ask("PUT", path, all, nil); resp.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("PUT %s: %d", path, resp.StatusCode)
		}
	}
}

// The policy lets a browser run and load only what this hub serves as a file, and no page frames it.
func TestPolicy(t *testing.T) {
	w := start(t)
	for _, path := range []string{"/fleet", "/login", "/assets/page.js", "/none", "/key/none"} {
		h := w.ask("GET", path, all, nil).Header
		csp := h.Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "form-action 'self'", "base-uri 'none'",
			"frame-ancestors 'none'"} {
			if !strings.Contains(csp, want) {
				t.Errorf("%s: the policy lacks %s: %s", path, want, csp)
			}
		}
		if strings.Contains(csp, "unsafe") || h.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %v", path, h)
		}
	}
	_, body := w.get("/fleet", all)
	for _, at := range regexp.MustCompile(`/assets/page\.js[^"]*`).FindAllString(body, -1) { // a new program has other names for its files
		kept := w.ask("GET", at, "", nil).Header.Get("Cache-Control")
		if other := w.ask("GET", at+"0", "", nil).Header.Get("Cache-Control"); !strings.Contains(kept, "immutable") || other != "no-cache" {
			t.Errorf("%s: %q, under another name %q", at, kept, other)
		}
	}
	if found := regexp.MustCompile(`(?i)\son\w+=|style=|<script(?: [a-z]+="[^"]*"| defer)*>[^<]|(src|href)="(https?:)?//`).FindString(body); found != "" {
		t.Errorf("the page has %q", found)
	}
}

// Every text from outside is text in the page, wherever it stands.
func TestHostileTexts(t *testing.T) {
	const evil = `"><script>hit()</script><img src=x onerror=hit()>'` + "\u202e\x1b[2J"
	w := start(t)
	w.publish("hosts", "a\n", "")
	w.publish("hosts", "b "+evil+"\n", strings.TrimRight(evil, "\u202e\x1b[2J"))
	if err := w.store.Put(t.Context(), w.layout.Stop("hosts"), []byte(evil), 0); err != nil {
		t.Fatal(err)
	}
	x := file("hosts", outcome.Pending)
	x.Detail, x.File = evil, "/etc/"+evil
	w.reports(evil, x)
	if err := w.store.Put(t.Context(), w.layout.Lock("/etc/"+evil, strings.ReplaceAll(evil, "/", "")), []byte(evil), 0); err != nil {
		t.Fatal(err)
	}
	w.shows("/key/hosts", "0 of 1", "stopped", "reload failed")
	q := url.QueryEscape(evil)
	for _, path := range []string{"/fleet?q=" + q, "/fleet?state=" + q + "&sort=" + q, "/fleet", "/key/hosts?q=" + q, "/key/hosts", "/nodes", "/nodes?q=" + q,
		"/node/" + url.PathEscape(evil), "/history/hosts?from=1&to=2", "/login?at=" + q, "/key/" + url.PathEscape(evil), "/node/none" + url.PathEscape(evil)} {
		code, body := w.get(path, all)
		if code == 500 {
			t.Errorf("%s: %d %s", path, code, body)
		}
		for _, bad := range []string{"<script>hit", "<img", "\x1b", "\u202e", `"">`} {
			if strings.Contains(body, bad) {
				t.Errorf("%s has %q", path, bad)
			}
		}
		if bad := regexp.MustCompile(`(href|src|action)="([^/#]|/[/\\])[^"]*"`).FindString(body); bad != "" {
			t.Errorf("%s leads to %s", path, bad)
		}
	}
}

// If the store cannot be read, the page shows how the fleet was, and says so.
func TestUnreachableStore(t *testing.T) {
	w := start(t)
	w.publish("hosts", "1\n", "")
	w.reports("web-1", file("hosts", outcome.Converged))
	w.shows("/fleet", "1 of 1")
	w.store.down.Store(true)
	w.shows("/fleet", "The fleet cannot be read", "connection refused", "1 of 1")
	w.store.down.Store(false)
	for limit := time.Now().Add(20 * time.Second); strings.Contains(w.shows("/fleet"), "cannot be read"); {
		if time.Now().After(limit) {
			t.Fatal("it does not recover")
		}
	}
}

// A stream sends a view when it has changed, and a sign of life if not.
func TestStream(t *testing.T) {
	w := start(t)
	w.publish("hosts", "1\n", "")
	server := httptest.NewServer(w.page)
	defer server.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/live?at=/key/hosts", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Consul-Token", all)
	resp, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if kind := resp.Header.Get("Content-Type"); kind != "text/event-stream" {
		t.Fatalf("%d %s", resp.StatusCode, kind)
	}
	lines := bufio.NewScanner(resp.Body)
	until := func(word string) {
		t.Helper()
		for lines.Scan() {
			if strings.Contains(lines.Text(), word) {
				return
			}
		}
		t.Fatalf("the stream ends without %q: %v", word, lines.Err())
	}
	until("No node reports this key")
	w.reports("web-1", file("hosts", outcome.Converged))
	until("1 of 1 node")
	if err := w.store.Put(t.Context(), w.layout.Stop("hosts"), []byte("a reason"), 0); err != nil {
		t.Fatal(err)
	}
	until("a reason")
	var gone []kv.Op
	for _, path := range w.layout.Rows("hosts") {
		gone = append(gone, kv.Op{Verb: kv.Delete, Path: path})
	}
	if _, err := w.store.Commit(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	until("not published")
}

// The pictures' points are the delivery times of the last publishes, in the order of the names of nodes.
func TestPoints(t *testing.T) {
	w := start(t)
	w.publish("hosts", "1\n", "")
	w.shows("/key/hosts", "No node reports") // the page is open
	x := file("hosts", outcome.Converged)
	x.Placed = &fleet.Placed{Steps: fleet.Steps{Install: fleet.Millis(time.Millisecond)}}
	w.reports("web-1", x)
	w.reports("web-2", x)
	w.shows("/points/hosts", `"nodes":["web-1","web-2"]`, `"version":1,"ms":[`, `"of":2`)
	w.publish("hosts", "2\n", "")
	w.reports("web-2", x)
	w.shows("/points/hosts", `"version":1,"ms":[`, `"version":2,"ms":[null,`)
}
