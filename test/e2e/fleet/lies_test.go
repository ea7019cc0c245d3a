//go:build linux

package fleet

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"kvexpress/internal/fleet"
	"kvexpress/internal/outcome"
	"kvexpress/internal/record"
	"kvexpress/test/e2e"
)

// escapes are what a terminal would obey: an escape, its eight-bit form, a bell, a
// new line that begins a row of its own, and a mark that turns the text around.
const escapes = "\x1b[2J\x1b]0;owned\x07\u009b31m\r\nhonest-0  9  current\u202e"

// raw reports whether any of that is in a text as it is.
func raw(text string) bool { return strings.ContainsAny(text, "\x1b\x07\u009b\r\u202e") }

// receiptsThatLie: a bad node can lie about itself, and about no other node. All is
// written past our own code, by a transaction, because Consul refuses some of the names in a
// URL.
func receiptsThatLie(t *testing.T, c *e2e.Cluster) {
	x := c.Site(t, 0)
	x.Publish("hosts", e2e.Version(1))
	x.Publish("hosts", e2e.Version(2))
	putFleet(x, "hosts", 3)
	var invalid, unread []string
	lies := func(node string, change func(*fleet.Receipt)) {
		t.Helper()
		invalid = append(invalid, node)
		value, flags, err := honest(x, node, "hosts", change).Marshal()
		if err != nil {
			t.Fatal(err)
		}
		putAny(x, node, string(value), flags)
	}
	garbage := func(node, value string, e record.Encoding) {
		t.Helper()
		unread = append(unread, node)
		putAny(x, node, value, e.Flags())
	}
	plain := func(r fleet.Receipt) string {
		t.Helper()
		b, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}

	lies("bytes", func(r *fleet.Receipt) { r.Targets[0].SHA256 = e2e.Sum("others") })
	lies("future", func(r *fleet.Receipt) { r.Targets[0].Version = 99 })
	lies("largest", func(r *fleet.Receipt) { r.Targets[0].Version = 1<<64 - 1 })
	lies("evil-detail", func(r *fleet.Receipt) {
		r.Targets[0].Version, r.Targets[0].Detail, r.Targets[0].File, r.Targets[0].Outcome = 99, escapes, escapes, escapes
	})
	lies("evil"+escapes, func(r *fleet.Receipt) { r.Targets[0].Version = 99 })
	garbage("another", plain(honest(x, "honest-0", "hosts", func(r *fleet.Receipt) { r.Format = 1; r.Targets[0].Version = 99 })),
		record.Plain)
	garbage("evil-name", plain(honest(x, escapes, "hosts", func(r *fleet.Receipt) { r.Format = 1 })), record.Plain)
	garbage("evil-value"+escapes, escapes, record.Plain)
	garbage("below/another", plain(honest(x, "another", "hosts", func(r *fleet.Receipt) { r.Format = 1 })), record.Plain)
	garbage("", "{}", record.Plain) // the folder itself
	garbage("empty", "", record.Plain)
	garbage("no-json", "it is well\n", record.Plain)
	garbage("deep", strings.Repeat(`{"targets":[`, 5000), record.Plain)
	// More than a transaction takes; without its blanks it would be valid.
	large := plain(honest(x, "large", "hosts", func(r *fleet.Receipt) { r.Format = 1 }))
	rawReceipt(x, "large", large+strings.Repeat(" ", 512<<10-len(large)), record.Plain)
	unread = append(unread, "large")
	garbage("bomb", packed(t, strings.Repeat("0", 64<<20)), record.Zstd)
	garbage("bomb-of-json", packed(t, `{"format":1,"node":"bomb-of-json","targets":[`+strings.Repeat(`{},`, 20<<20/3)+`{}]}`),
		record.Zstd)
	garbage("targets", packed(t,
		`{"format":1,"node":"targets","sent":"2026-01-01T00:00:00Z","targets":[`+strings.Repeat(`{},`, 5000)+`{}]}`), record.Zstd)
	garbage("unpacked", "{}", record.Zstd)
	garbage("newer", `{"format":2,"node":"newer"}`, record.Plain)
	putAny(x, "flags", "{}", 12345)
	unread = append(unread, "flags")

	// Only outdated.
	putReceipt(x, "honest-behind", honest(x, "honest-behind", "hosts", func(r *fleet.Receipt) {
		r.Targets[0].Version, r.Targets[0].SHA256, r.Targets[0].Outcome, r.Targets[0].Detail = 1, e2e.Sum(e2e.Version(1)),
			"failed"+escapes, escapes
	}))
	const behind = 1

	want := fmt.Sprintf("3 of %d, %d outdated, %d invalid, %d unreadable", 3+behind+len(invalid), behind, len(invalid), len(unread))
	s := status(x, "hosts")
	if counts(s.Report) != want {
		t.Errorf("it is %s, want %s", counts(s.Report), want)
	}
	for _, node := range invalid {
		if l := s.line(node); l == nil || l.Outcome != outcome.Invalid {
			t.Errorf("%q: %+v", node, l)
		}
	}
	told := map[string]string{}
	for _, u := range s.Unread {
		told[u.Node] = u.Why
	}
	for _, node := range unread {
		if told[node] == "" {
			t.Errorf("%q is not named as not to be read", node)
		}
	}
	for _, node := range []string{"honest-0", "honest-1", "honest-2"} {
		if s.line(node) != nil {
			t.Errorf("%+v", s.line(node))
		}
	}
	if s.Delivered.Count != 3 || s.Delivered.Slowest > fleet.Millis(10*time.Second) {
		t.Errorf("%+v", s.Delivered)
	}

	all := []string{"status", "-k", "hosts", "--all"}
	for _, args := range [][]string{all, {"status"}, append(all, "--json"),
		{"status", "-k", "hosts", "--wait", "60%", "--timeout", "1s"}, {"locks"}} {
		r := as(x, args...)
		if raw(r.Stdout + r.Stderr) {
			t.Errorf("%v: what a terminal obeys: %q%q", args, r.Stdout, r.Stderr)
		}
	}
	got := must(x, 0, all...)
	for _, node := range append(invalid, unread...) {
		if name, _, evil := strings.Cut(node, "\x1b"); !tells(got.Stdout, name) || evil &&
			strings.Contains(got.Stdout, "\nhonest-0  9") {
			t.Errorf("%q is not named:\n%s", node, got.Stdout)
		}
	}
	// They can be removed, whatever their names.
	for _, node := range []string{"evil" + strings.ReplaceAll(escapes, "\r\n", "") + "x", "bomb"} {
		putAny(x, node, "{}", 0)
		must(x, 0, "forget", node)
		if stored(x, "bomb") != nil && node == "bomb" {
			t.Error("it is still there")
		}
	}
}

// putAny puts a receipt under any name, by a transaction.
func putAny(x *e2e.Site, node, value string, flags uint64) {
	x.T.Helper()
	type set struct {
		Verb, Key string
		Value     []byte
		Flags     uint64
	}
	body, err := json.Marshal([]map[string]set{{"KV": {"set", x.Layout.NodesDir() + node, []byte(value), flags}}})
	if err != nil {
		x.T.Fatal(err)
	}
	if status, answer := x.Store.Request(http.MethodPut, "/v1/txn", body); status != http.StatusOK {
		x.T.Fatalf("put %q: %d %s", node, status, e2e.Brief(string(answer)))
	}
}

func packed(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	z, err := zstd.NewWriter(&b)
	if err == nil {
		_, err = io.WriteString(z, text)
	}
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// receiptsOfManyTargets: a node may say much, and counts once.
func receiptsOfManyTargets(t *testing.T, c *e2e.Cluster) {
	x := c.Site(t, 0)
	x.Publish("hosts", e2e.Version(1))
	putFleet(x, "hosts", 3)
	many := func(each func(i int, target *fleet.Target)) func(*fleet.Receipt) {
		return func(r *fleet.Receipt) {
			first := r.Targets[0]
			r.Targets = nil
			for i := range 300 {
				target := first
				target.File = fmt.Sprintf("/etc/hosts-%03d", i)
				each(i, &target)
				r.Targets = append(r.Targets, target)
			}
		}
	}
	putReceipt(x, "same", honest(x, "same", "hosts", many(func(int, *fleet.Target) {})))
	putReceipt(x, "others",
		honest(x, "others", "hosts", many(func(i int, target *fleet.Target) { target.Key = fmt.Sprintf("none-%d", i) })))
	putReceipt(x, "one-of-them", honest(x, "one-of-them", "hosts", many(func(i int, target *fleet.Target) {
		target.Detail = strings.Repeat("why ", 120)
		if i == 250 {
			target.Version, target.SHA256 = 0, ""
		}
	})))
	s := status(x, "hosts")
	if counts(s.Report) != "4 of 5, 1 outdated" || s.line("one-of-them").File != "/etc/hosts-250" {
		t.Errorf("%s: %+v", counts(s.Report), s.line("one-of-them"))
	}
	// Of the keys that a node reports and that do not exist, a hundred have a line.
	if got := must(x, 0, "status"); strings.Count(got.Stdout, "\nnone-") != 100 || !strings.Contains(got.Stdout, "200 more") ||
		!hasRow(got.Stdout, "hosts", "1") {
		t.Errorf("status has %d lines of keys", strings.Count(got.Stdout, "\nnone-"))
	}
}
