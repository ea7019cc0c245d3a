//go:build linux

package store

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

	"kvexpress/internal/testutil/consultest"
	"kvexpress/test/e2e"
)

// consulAt is Consul's own command, against the store at addr.
func consulAt(m *e2e.Machine, bin, addr string, args ...string) []byte {
	m.T.Helper()
	cmd := exec.CommandContext(m.T.Context(), bin, append(args[:2:2], append([]string{"-http-addr=" + addr}, args[2:]...)...)...)
	cmd.Dir, cmd.Env = m.Dir, m.Env
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		m.T.Fatalf("consul %v: %v: %s", args, err, stderr.String())
	}
	return out
}

// From a hub into Consul and back, by our commands and by Consul's: each key is
// delivered with the same bytes and version, and every other row is the same.
func TestMove(t *testing.T) {
	t.Parallel()
	consul := consultest.Start(t)
	m := e2e.NewMachine(t, consul.Addr)
	first := serve(t).addr
	source := m.With("CONSUL_HTTP_ADDR=" + first)

	contents := map[string]string{
		"hosts": e2e.Text("web", 300), "team/app/flags": e2e.Text("flag", 20), "large": e2e.Noise(379<<10, 7),
	}
	for key, content := range contents {
		m.File("old", e2e.Text("old", 30))
		source.Ok("in", "-k", key, "-f", m.Path("old"))
		m.File("new", content)
		source.Ok("in", "-k", key, "-f", m.Path("new"), "-m", "why")
	}
	source.Ok("stop", "-k", "team/app/flags", "-r", "look first")
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
	put("others/most", []byte(e2e.Noise(512<<10, 8)), 0)

	// Many rows, by an import.
	var many strings.Builder
	many.WriteString("[")
	for i := range 1_000 {
		fmt.Fprintf(&many, `{"key":"many/%05d","flags":%d,"value":"eA=="},`, i, i)
	}
	m.File("many.json", strings.TrimSuffix(many.String(), ",")+"]")
	source.Ok("kv", "import", m.Path("many.json"))

	all := source.Ok("kv", "export")
	if theirs := string(consulAt(m, consul.Bin, first, "kv", "export")); theirs != all {
		t.Fatalf("we print %d bytes, Consul %d others", len(all), len(theirs))
	}
	m.File("all.json", all)
	source.Ok("resume", "-k", "team/app/flags") // as it will be at the others, when they are compared
	wipe := func() {
		t.Helper()
		if status, _, err := consul.Request(http.MethodDelete, "/v1/kv/?recurse", "", nil); err != nil || status != http.StatusOK {
			t.Fatalf("empty Consul: %d %v", status, err)
		}
	}
	check := func(who string, at *e2e.Machine) {
		t.Helper()
		if got := at.Ok("kv", "export"); got != all {
			t.Fatalf("%s: an export of it has %d bytes, want the %d of the first", who, len(got), len(all))
		}
		at.Fails(3, []string{"look first"}, "out", "-k", "team/app/flags", "-f", at.Path("stopped"), "-l", "1", "--strict",
			"--state-dir", at.Path("state-"+who))
		at.Ok("resume", "-k", "team/app/flags")
		for key := range contents {
			file := filepath.Join(t.TempDir(), "f")
			at.Ok("out", "-k", key, "-f", file, "-l", "1", "--no-receipt", "--state-dir", at.Path("state-"+who))
			if b, err := os.ReadFile(file); err != nil || string(b) != contents[key] {
				t.Errorf("%s: %s is delivered as %s, %v", who, key, e2e.Brief(string(b)), err)
			}
			if past, want := at.Ok("history", "-k", key, "--json"), source.Ok("history", "-k", key, "--json"); past != want {
				t.Errorf("%s: the history of %s is\n%s\nwant\n%s", who, key, past, want)
			}
		}
	}

	consulAt(m, consul.Bin, consul.Addr, "kv", "import", "@all.json")
	check("consul kv import", m)
	wipe()
	m.Ok("kv", "import", m.Path("all.json"))
	check("kvexpress kv import", m)

	// And back: Consul's export into another hub.
	wipe()
	m.Ok("kv", "import", m.Path("all.json"))
	m.File("back.json", string(consulAt(m, consul.Bin, consul.Addr, "kv", "export")))
	again := e2e.NewMachine(t, consul.Addr)
	again = again.With("CONSUL_HTTP_ADDR=" + serve(t).addr)
	again.Ok("kv", "import", m.Path("back.json"))
	check("back", again)
}
