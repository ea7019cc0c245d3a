package publish

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"kvexpress/internal/testutil/consultest"
	"kvexpress/test/e2e"
)

// The metrics of real commands, under the names and with the tags of 1.x: its
// dashboards and alerts go on working.
func TestMetrics(t *testing.T) {
	t.Parallel()
	s, m := e2e.Start(t)
	inbox := newInbox(t)
	host := e2e.Hostname(t)
	tags := func(key, direction, location string) string {
		return "#key:" + key + ",host:" + host + ",direction:" + direction + ",location:" + location
	}
	timed := func(key, direction, location string) string {
		return "kvexpress.time|g|" + tags(key, direction, location)
	}
	count := func(name, key, direction, location string) string {
		return "kvexpress." + name + ":1|c|" + tags(key, direction, location)
	}
	published := func(key, direction, bytes, lines string) []string {
		return []string{
			"kvexpress.bytes:" + bytes + "|g|" + tags(key, direction, "complete"),
			count("in", key, direction, "complete"),
			"kvexpress.lines:" + lines + "|g|" + tags(key, direction, "complete"),
			timed(key, direction, "complete"),
		}
	}
	hosts := m.Path("hosts")
	lock := oldLock(t, hosts)
	m.File("source", e2e.Text("one", 20))
	m.File("short", e2e.Text("one", 3))
	m.File("empty", "")
	m.File("plainfile", "")
	gone := httptest.NewServer(http.NotFoundHandler())
	defer gone.Close()

	for _, c := range []struct {
		name   string
		before func()
		args   []string
		code   int
		want   []string
	}{
		{"in", nil, []string{"in", "-k", "hosts", "-f", "source"}, 0, published("hosts", "in", "501", "20")},
		{"in, the same", nil, []string{"in", "-k", "hosts", "-f", "source"}, 0, []string{timed("hosts", "in", "file_checksums_match")}},
		{"in, too short", nil, []string{"in", "-k", "hosts", "-f", "short"}, 6, []string{timed("hosts", "in", "not_long_enough")}},
		{"in, empty", nil, []string{"in", "-k", "hosts", "-f", "empty"}, 6, []string{timed("hosts", "in", "not_long_enough")}},
		{"in, no such page", nil, []string{"in", "-k", "hosts", "-u", gone.URL}, 1, []string{
			count("panic", "hosts", "in", "read_url"), timed("hosts", "in", "read_url"),
		}},
		{"in, no such file", nil, []string{"in", "-k", "hosts", "-f", "nowhere"}, 1, nil},
		{"in, no key", nil, []string{"in", "-f", "source"}, 1, nil},
		{"in, a bad key", nil, []string{"in", "-k", "a//b", "-f", "source"}, 1, nil},
		{"out", nil, []string{"out", "-k", "hosts", "-f", hosts}, 0, []string{
			count("out", "hosts", "out", "complete"), timed("hosts", "out", "complete"),
		}},
		{"out, the same", nil, []string{"out", "-k", "hosts", "-f", hosts}, 0, []string{timed("hosts", "out", "file_checksums_match")}},
		{"out, too short", nil, []string{"out", "-k", "hosts", "-f", hosts, "-l", "21"}, 6, []string{
			count("not_long_enough", "hosts", "out", "not_long_enough"), timed("hosts", "out", "not_long_enough"),
		}},
		{"out, the exec fails", func() { m.File("hosts", "drifted") }, []string{"out", "-k", "hosts", "-f", hosts, "-e", "false"}, 8,
			[]string{
				count("out", "hosts", "out", "complete"), timed("hosts", "out", "complete"),
			}},
		{"out, a folder in the way", nil, []string{"out", "-k", "hosts", "-f", m.Path("plainfile") + "/hosts"}, 1, []string{
			count("panic", m.Path("plainfile")+"/hosts", "out", "write_file"), timed("hosts", "out", "write_file"),
		}},
		// For 1.x a missing key had one line, and a checksum that was not it.
		{"out, no such key", nil, []string{"out", "-k", "nothing", "-f", hosts}, 5, []string{
			count("checksum_mismatch", "nothing", "out", "checksum_mismatch"),
			count("not_long_enough", "nothing", "out", "not_long_enough"),
			timed("nothing", "out", "error_no_data"),
		}},
		{"out, no such key, which is fine", nil, []string{"out", "-k", "nothing", "-f", hosts, "--missing-ok"}, 0,
			[]string{timed("nothing", "out", "error_no_data")}},
		{"raw", nil, []string{"raw", "-k", "kvexpress/hosts/checksum", "-f", m.Path("raw"), "-l", "1"}, 0, []string{
			count("raw", "kvexpress/hosts/checksum", "raw", "complete"), timed("kvexpress/hosts/checksum", "raw", "complete"),
		}},
		{"copy", nil, []string{"copy", "--keyfrom", "hosts", "--keyto", "copied"}, 0, published("copied", "copy", "501", "20")},
		{"copy, the same", nil, []string{"copy", "--keyfrom", "hosts", "--keyto", "copied"}, 0,
			[]string{timed("copied", "copy", "consul_checksums_match")}},
		{"copy, too short", nil, []string{"copy", "--keyfrom", "hosts", "--keyto", "copied", "-l", "99"}, 6,
			[]string{timed("copied", "copy", "not_long_enough")}},
		{"copy, no such key", nil, []string{"copy", "--keyfrom", "nothing", "--keyto", "copied"}, 5,
			[]string{timed("copied", "copy", "error_no_data")}},
		{"lock", nil, []string{"lock", "-f", hosts}, 0,
			[]string{count("lock", lock, "lock", "complete"), timed(hosts, "lock", "complete")}},
		{"out, locked", nil, []string{"out", "-k", "hosts", "-f", hosts}, 0, []string{
			count("locked", hosts, "out", "complete"), timed(hosts, "out", "lock_key"),
		}},
		{"unlock", nil, []string{"unlock", "-f", hosts}, 0,
			[]string{timed(hosts, "unlock", "complete"), count("unlock", lock, "unlock", "complete")}},
		{"stop", nil, []string{"stop", "-k", "hosts", "-r", "a reason"}, 0, []string{timed("hosts", "stop", "complete")}},
		{"in, stopped", nil, []string{"in", "-k", "hosts", "-f", "source"}, 3, []string{timed("hosts", "in", "stop_key")}},
		{"out, stopped", nil, []string{"out", "-k", "hosts", "-f", hosts}, 0, []string{timed("hosts", "out", "stop_key")}},
		{"resume", nil, []string{"resume", "-k", "hosts"}, 0, []string{timed("hosts", "resume", "complete")}},
		{"out, mismatch", func() {
			m.File("hosts", "drifted")
			s.Put("kvexpress/hosts/checksum", e2e.Sum("of something else"), 0)
		}, []string{"out", "-k", "hosts", "-f", hosts}, 6, []string{
			count("checksum_mismatch", "hosts", "out", "checksum_mismatch"), timed("hosts", "out", "checksum_mismatch"),
		}},
		{"clean", nil, []string{"clean", "-f", m.Path("short")}, 0, []string{timed("none", "clean", "complete")}},
		{"version", nil, []string{"version"}, 0, nil},
	} {
		if c.before != nil {
			c.before()
		}
		// As 1.x's documentation writes it, and with a value behind the switch.
		m.Want(c.code, append(c.args, "-d", "true", "-D", inbox.addr)...)
		slices.Sort(c.want)
		if got := inbox.metrics(); !slices.Equal(got, c.want) {
			t.Errorf("%s sends\n  %s\nwant\n  %s", c.name, strings.Join(got, "\n  "), strings.Join(c.want, "\n  "))
		}
	}
}

// Failures of Consul.
func TestMetricsOfTrouble(t *testing.T) {
	t.Parallel()
	s, _ := e2e.Start(t, consultest.WithACL())
	inbox := newInbox(t)
	host := e2e.Hostname(t)
	reader := s.Server.NewToken(t, `key_prefix "kvexpress/" { policy = "read" }`)
	sent := func(m *e2e.Machine, code int, args ...string) map[string]int {
		t.Helper()
		m.Want(code, append(args, "-d", "-D", inbox.addr)...)
		counts := map[string]int{}
		for _, line := range inbox.metrics() {
			counts[line]++
		}
		return counts
	}
	wants := func(got map[string]int, lines ...string) {
		t.Helper()
		for _, line := range lines {
			if got[line] != 1 {
				t.Errorf("%q was sent %d times, want once; all: %v", line, got[line], got)
			}
		}
	}

	// A token that may only read.
	m := e2e.NewMachine(t, s.Server.Addr, "CONSUL_HTTP_TOKEN="+reader)
	m.File("source", e2e.Text("one", 20))
	for _, c := range []struct {
		path, about, location string
		args                  []string
	}{
		{"kvexpress/hosts/data", "hosts", "set", []string{"in", "-k", "hosts", "-f", m.Path("source")}},
		{"kvexpress/hosts/stop", "hosts", "set", []string{"stop", "-k", "hosts", "-r", "a reason"}},
		{oldLock(t, m.Path("hosts")), m.Path("hosts"), "set", []string{"lock", "-f", m.Path("hosts")}},
	} {
		tail := ",host:" + host + ",direction:" + c.args[0] + ",location:" + c.location
		wants(sent(m, 7, c.args...),
			"kvexpress.consul_error:1|c|#key:"+c.path+tail,
			"kvexpress.time|g|#key:"+c.about+tail)
	}

	// Consul is unreachable: each retry is counted, and the final failure.
	unreachable := e2e.NewMachine(t, "127.0.0.1:1")
	unreachable.File("source", e2e.Text("one", 20))
	for _, args := range [][]string{{"in", "-k", "hosts", "-f", "source"}, {"out", "-k", "hosts", "-f", unreachable.Path("hosts")}} {
		got := sent(unreachable, 7, append(args, "--retry-for", "300ms")...)
		tail := ",host:" + host + ",direction:" + args[0]
		wants(got,
			"kvexpress.panic:1|c|#key:hosts"+tail+",location:no_more_retries",
			"kvexpress.time|g|#key:hosts"+tail+",location:no_more_retries")
		if got["kvexpress.consul_reconnect:1|c|#host:"+host+",direction:"+args[0]] == 0 {
			t.Errorf("no attempt to reconnect was counted: %v", got)
		}
	}
	// A token that may not even read.
	denied := e2e.NewMachine(t, s.Server.Addr)
	tail := ",host:" + host + ",direction:out,location:no_more_retries"
	wants(sent(denied, 7, "out", "-k", "hosts", "-f", denied.Path("hosts")),
		"kvexpress.panic:1|c|#key:hosts"+tail, "kvexpress.time|g|#key:hosts"+tail)
}
