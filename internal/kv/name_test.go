package kv

import (
	"errors"
	"path"
	"strings"
	"testing"
)

func TestParseKey(t *testing.T) {
	for _, test := range []struct {
		given, want string // want "": refused
		names       string // what the error has to name
	}{
		{given: "hosts", want: "hosts"},
		{given: "/hosts", want: "hosts"},
		{given: "team/app/flags", want: "team/app/flags"},
		{given: "A-z_0.9", want: "A-z_0.9"},
		{given: "my/locks", want: "my/locks"},
		{given: "datastore", want: "datastore"},
		{given: strings.Repeat("k", MaxKeyLen), want: strings.Repeat("k", MaxKeyLen)},
		{given: "", names: "empty"},
		{given: "/", names: "empty"},
		{given: "//hosts", names: "empty"},
		{given: "a//b", names: "empty"},
		{given: "hosts/", names: "empty"},
		{given: "..", names: `".."`},
		{given: "../x", names: `".."`},
		{given: "a/../b", names: `".."`},
		{given: "a/.", names: `"."`},
		{given: ".history/hosts", names: ".history"},
		{given: "a/.b", names: ".b"},
		{given: "locks", names: "locks"},
		{given: "locks/x", names: "locks"},
		{given: "data", names: "data"},
		{given: "hosts/checksum", names: "checksum"},
		{given: "manifest/x", names: "manifest"},
		{given: "a/stop/b", names: "stop"},
		{given: "a/candidate", names: "candidate"},
		{given: "policy/a", names: "policy"},
		{given: "a/signature", names: "signature"},
		{given: "a b", names: "' '"},
		{given: "a\nb", names: `\n`},
		{given: "a\x00b", names: `\x00`},
		{given: "%2e%2e", names: "'%'"},
		{given: "a\x1b[31m", names: `\x1b`},
		{given: "h\u043ests", names: `\u043e`}, // a Cyrillic o
		{given: "\xff", names: `\xff`},
		{given: strings.Repeat("k", MaxKeyLen+1), names: "257"},
		{given: strings.Repeat("../", 10<<10), names: "30720"},
	} {
		got, err := ParseKey(test.given)
		var bad *NameError
		switch {
		case test.want != "":
			if err != nil || string(got) != test.want {
				t.Errorf("%.40q: got %q, %v", test.given, got, err)
			}
		case !errors.As(err, &bad) || !strings.Contains(err.Error(), test.names):
			t.Errorf("%.40q: got %v, want it refused with %q", test.given, err, test.names)
		}
	}
}

func TestPrefix(t *testing.T) {
	for given, want := range map[string]string{
		"kvexpress": "kvexpress/hosts/data", "/kvexpress/": "kvexpress/hosts/data", "tmp": "tmp/hosts/data",
		"a/b": "a/b/hosts/data", "": "", "/": "", "a//b": "", "..": "", "a/../b": "", ".x": "", "a b": "",
		strings.Repeat("p", MaxPrefixLen+1): "",
	} {
		l, err := NewLayout(given)
		if want == "" {
			if err == nil {
				t.Errorf("%.40q is taken", given)
			}
		} else if err != nil || l.Data("hosts") != want {
			t.Errorf("%q: got %s, %v", given, l.Data("hosts"), err)
		}
	}
}

func TestParseNode(t *testing.T) {
	for given, names := range map[string]string{ // names "": accepted
		"web-17": "", "web-17.example.com": "", "A_9": "", strings.Repeat("n", MaxNodeLen): "",
		"": "empty", ".": `"."`, "..": `".."`, ".x": "dot", "a/b": "'/'", "/": "'/'", "a b": "' '", "a\n": `\n`,
		"a\x1b[2J": `\x1b`, "h\u043ests": `\u043e`, "\xff": `\xff`, strings.Repeat("n", MaxNodeLen+1): "254",
	} {
		got, err := ParseNode(given)
		var bad *NameError
		switch {
		case names == "":
			if err != nil || got != given {
				t.Errorf("%.40q: %q, %v", given, got, err)
			}
		case !errors.As(err, &bad) || bad.What != "node" || got != "" || !strings.Contains(err.Error(), names):
			t.Errorf("%.40q: %q, %v, want it refused with %q", given, got, err, names)
		}
	}
}

// KeyOf and LockOf accept only paths that Layout makes.
func TestPathsBack(t *testing.T) {
	l, err := NewLayout("kvexpress")
	if err != nil {
		t.Fatal(err)
	}
	hash := FileHash("/etc/hosts")
	for given, want := range map[string]string{
		l.Stop("a/b"): "a/b stop", l.Data("hosts"): "hosts data", l.Checksum("hosts"): "hosts checksum",
		l.Manifest("hosts"): "hosts manifest",
		"kvexpress/stop":    "", "kvexpress//stop": "", "kvexpress//hosts/stop": "", "kvexpress/hosts//stop": "",
		"kvexpress/hosts/stop/": "",
		"kvexpress/hosts/other": "", "kvexpress/a b/stop": "", "kvexpress/../hosts/stop": "", "other/hosts/stop": "",
		"kvexpress-nodes/hosts/stop": "",
		l.HistoryData("hosts", 3):    "", l.Lock("/etc/hosts", "stop"): "", "": "",
	} {
		got := ""
		if k, row, ok := l.KeyOf(given); ok {
			got = string(k) + " " + row
		}
		if got != want {
			t.Errorf("%s is a row of %q, want %q", given, got, want)
		}
	}
	for given, want := range map[string]string{
		l.Lock("/etc/hosts", "web-17"): "web-17", l.Lock("/etc/hosts", "a b"): "a b", // 1.x allowed any host name
		l.Lock("/etc/hosts", ""): "", l.LocksDir() + hash: "", l.LocksDir() + hash + "/a/b": "", l.LocksDir() +
			strings.ToUpper(hash) + "/x": "",
		l.LocksDir() + "x/y": "", "kvexpress/lock/" + hash + "/x": "",
	} {
		got, host, ok := l.LockOf(given)
		if ok != (want != "") || host != want || ok && got != hash {
			t.Errorf("%s is a lock of %q on %q, %t", given, got, host, ok)
		}
	}
}

// The paths are a contract: other programs and kvexpress 1.x depend on them.
func TestLayout(t *testing.T) {
	l, err := NewLayout("kvexpress")
	if err != nil {
		t.Fatal(err)
	}
	for got, want := range map[string]string{
		l.Data("a/b"):              "kvexpress/a/b/data",
		l.Checksum("hosts"):        "kvexpress/hosts/checksum",
		l.Manifest("hosts"):        "kvexpress/hosts/manifest",
		l.Stop("hosts"):            "kvexpress/hosts/stop",
		l.Lock("/etc/hosts", "h1"): "kvexpress/locks/4a666ea3a3b04a24f574974df10592d51bd191614ee41b02d09f6d13c0c2f52a/h1",
		l.HistoryManifest("a", 7):  "kvexpress/.history/a/7/manifest",
		l.HistoryData("a", 7):      "kvexpress/.history/a/7/data",
		l.Node("web-17"):           "kvexpress-nodes/web-17",
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	for given, want := range map[string]uint64{
		l.HistoryManifest("a", 12): 12, l.HistoryData("a", 12): 12, l.HistoryManifest("b", 12): 0, l.HistoryDir("a") + "1/x/y": 0,
		l.HistoryManifest("a", 1<<63): 0, l.HistoryManifest("a", 1<<63-1): 1<<63 - 1, l.HistoryDir("a") + "12": 0,
		l.HistoryDir("a") + "0/manifest": 0, l.HistoryDir("a") + "-1/manifest": 0, l.HistoryDir("a") + "x/manifest": 0,
	} {
		got, row, ok := l.HistoryVersion("a", given)
		if ok != (want > 0) || ok && (got != want || row != given[strings.LastIndexByte(given, '/')+1:]) {
			t.Errorf("%s is version %d, %t", given, got, ok)
		}
	}
}

func TestAncestors(t *testing.T) {
	got := Key("a/b/c").Ancestors()
	if len(got) != 2 || got[0] != "a" || got[1] != "a/b" {
		t.Errorf("got %q", got)
	}
}

// An accepted key stays below its prefix, and no two keys share a path.
func FuzzParseKey(f *testing.F) {
	for _, s := range []string{"hosts", "/a/b", "../x", "a//b", "%2e%2e/x", "a\x00", "locks/a", "a/data", ".",
		strings.Repeat("a/", 200)} {
		f.Add(s)
	}
	l, err := NewLayout("p")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, s string) {
		k, err := ParseKey(s)
		if err != nil {
			if strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' || r == 0x7f }) {
				t.Errorf("%q: the error is not one printable line: %q", s, err)
			}
			return
		}
		data := l.Data(k)
		if path.Clean(data) != data || !strings.HasPrefix(data, "p/") || len(data) > MaxKeyLen+10 {
			t.Errorf("%q leads to %q", s, data)
		}
		if again, err := ParseKey(string(k)); err != nil || again != k {
			t.Errorf("%q is %q, and that is %q, %v", s, k, again, err)
		}
	})
}
