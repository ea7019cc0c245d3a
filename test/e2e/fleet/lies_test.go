//go:build linux

package fleet

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"kvexpress/internal/fleet"
	"kvexpress/test/e2e"
)

// escapes are what a terminal would obey: an escape, its eight-bit form, a bell, a
// new line that begins a row of its own, and a mark that turns the text around.
const escapes = "\x1b[2J\x1b]0;owned\x07\u009b31m\r\nhonest-0  9  current\u202e"

// raw reports whether any of that is in a text as it is.
func raw(text string) bool { return strings.ContainsAny(text, "\x1b\x07\u009b\r\u202e") }

// receiptsThatLie: a bad node can lie about itself, and about no other node. Nothing that it writes reaches a terminal as it
// is. All is written past our own code, by a transaction, because Consul refuses some of the names in a URL. Package fleet
// tests the other lies.
func receiptsThatLie(t *testing.T, c *e2e.Cluster) {
	x := c.Site(t, 0)
	x.Publish("hosts", e2e.Version(1))
	x.Publish("hosts", e2e.Version(2))
	putFleet(x, "hosts", 3)
	lies := func(node string, change func(*fleet.Receipt)) {
		t.Helper()
		value, flags, err := honest(x, node, "hosts", change).Marshal()
		if err != nil {
			t.Fatal(err)
		}
		putAny(x, node, string(value), flags)
	}
	lies("bytes", func(r *fleet.Receipt) { r.Targets[0].SHA256 = e2e.Sum("others") })
	lies("evil-detail", func(r *fleet.Receipt) {
		r.Targets[0].Version, r.Targets[0].Detail, r.Targets[0].File, r.Targets[0].Outcome = 99, escapes, escapes, escapes
	})
	lies("evil"+escapes, func(r *fleet.Receipt) { r.Targets[0].Version = 99 })
	putAny(x, "evil-value"+escapes, escapes, 0)
	s := status(x, "hosts")
	if counts(s.Report) != "3 of 6, 3 invalid, 1 unreadable" || s.Delivered.Count != 3 {
		t.Errorf("it is %s, delivered %+v", counts(s.Report), s.Delivered)
	}
	for _, node := range []string{"honest-0", "honest-1", "honest-2"} {
		if s.line(node) != nil {
			t.Errorf("%+v", s.line(node))
		}
	}
	all := []string{"status", "-k", "hosts", "--all"}
	for _, args := range [][]string{all, {"status"}, append(all, "--json"),
		{"status", "-k", "hosts", "--wait", "50%", "--timeout", "1s"}, {"locks"}} {
		r := as(x, args...)
		if raw(r.Stdout + r.Stderr) {
			t.Errorf("%v: what a terminal obeys: %q%q", args, r.Stdout, r.Stderr)
		}
	}
	got := must(x, 0, all...)
	if !tells(got.Stdout, "bytes", "evil-detail", "evil-value") || strings.Contains(got.Stdout, "\nhonest-0  9") {
		t.Errorf("not all are named:\n%s", got.Stdout)
	}
	// They can be removed, whatever their names.
	for _, node := range []string{"evil" + strings.ReplaceAll(escapes, "\r\n", "") + "x", "bytes"} {
		putAny(x, node, "{}", 0)
		must(x, 0, "forget", node)
	}
	if stored(x, "bytes") != nil {
		t.Error("it is still there")
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
