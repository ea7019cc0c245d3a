//go:build linux

package e2e

import (
	"bytes"
	"fmt"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"kvexpress/internal/consultest"
)

// consulAt is Consul's own command, against the store at addr.
func (m *machine) consulAt(bin, addr string, args ...string) []byte {
	m.t.Helper()
	cmd := exec.CommandContext(m.t.Context(), bin, append(args[:2:2], append([]string{"-http-addr=" + addr}, args[2:]...)...)...)
	cmd.Dir, cmd.Env = m.dir, m.env
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		m.t.Fatalf("consul %v: %v: %s", args, err, stderr.String())
	}
	return out
}

// From serve into Consul and back, by our commands and by Consul's: each key is
// delivered with the same bytes and version, and every other row is the same.
func TestMove(t *testing.T) {
	t.Parallel()
	consul := consultest.Start(t)
	m := newMachine(t, consul.Addr)
	first := serve(t).addr
	source := m.with("CONSUL_HTTP_ADDR=" + first)

	contents := map[string]string{
		"hosts": text("web", 300), "team/app/flags": text("flag", 20), "large": noise(379<<10, 7),
	}
	for key, content := range contents {
		m.file("old", text("old", 30))
		source.ok("in", "-k", key, "-f", m.path("old"))
		m.file("new", content)
		source.ok("in", "-k", key, "-f", m.path("new"), "-m", "why")
	}
	source.ok("stop", "-k", "team/app/flags", "-r", "look first")
	put := func(path string, value []byte, flags uint64) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut,
			"http://"+first+"/v1/kv/"+path+"?flags="+strconv.FormatUint(flags, 10), bytes.NewReader(value))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("PUT %s: %d", path, resp.StatusCode)
		}
	}
	put("others/binary", []byte{0, 0xff, '\n', '"'}, math.MaxUint64)
	put("others/empty", nil, 1)
	put("others/folder/", nil, 0)
	put("others/%C3%BC%20%3Cb%3E%26%F0%9F%98%80", []byte("x"), 0)
	put("others/most", []byte(noise(512<<10, 8)), 0)

	// Many rows, by an import.
	var many strings.Builder
	many.WriteString("[")
	for i := range 10_000 {
		fmt.Fprintf(&many, `{"key":"many/%05d","flags":%d,"value":"eA=="},`, i, i)
	}
	m.file("many.json", strings.TrimSuffix(many.String(), ",")+"]")
	source.ok("kv", "import", m.path("many.json"))

	all := source.ok("kv", "export")
	if theirs := string(m.consulAt(consul.Bin, first, "kv", "export")); theirs != all {
		t.Fatalf("we print %d bytes, Consul %d others", len(all), len(theirs))
	}
	m.file("all.json", all)
	source.ok("resume", "-k", "team/app/flags") // as it will be at the others, when they are compared
	wipe := func() {
		t.Helper()
		if status, _, err := consul.Request(http.MethodDelete, "/v1/kv/?recurse", "", nil); err != nil || status != http.StatusOK {
			t.Fatalf("empty Consul: %d %v", status, err)
		}
	}
	check := func(who string, at *machine) {
		t.Helper()
		if got := at.ok("kv", "export"); got != all {
			t.Fatalf("%s: an export of it has %d bytes, want the %d of the first", who, len(got), len(all))
		}
		at.fails(3, []string{"look first"}, "out", "-k", "team/app/flags", "-f", at.path("stopped"), "-l", "1", "--strict", "--state-dir", at.path("state-"+who))
		at.ok("resume", "-k", "team/app/flags")
		for key := range contents {
			file := filepath.Join(t.TempDir(), "f")
			at.ok("out", "-k", key, "-f", file, "-l", "1", "--no-receipt", "--state-dir", at.path("state-"+who))
			if b, err := os.ReadFile(file); err != nil || string(b) != contents[key] {
				t.Errorf("%s: %s is delivered as %s, %v", who, key, brief(string(b)), err)
			}
			if past, want := at.ok("history", "-k", key, "--json"), source.ok("history", "-k", key, "--json"); past != want {
				t.Errorf("%s: the history of %s is\n%s\nwant\n%s", who, key, past, want)
			}
		}
	}

	m.consulAt(consul.Bin, consul.Addr, "kv", "import", "@all.json")
	check("consul kv import", m)
	wipe()
	m.ok("kv", "import", m.path("all.json"))
	check("kvexpress kv import", m)

	// And back: Consul's export into another serve.
	wipe()
	m.ok("kv", "import", m.path("all.json"))
	m.file("back.json", string(m.consulAt(consul.Bin, consul.Addr, "kv", "export")))
	again := newMachine(t, consul.Addr)
	again = again.with("CONSUL_HTTP_ADDR=" + serve(t).addr)
	again.ok("kv", "import", m.path("back.json"))
	check("back", again)
}
