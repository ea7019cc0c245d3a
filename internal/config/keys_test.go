package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// words maps a value to its parsed form, or, if it is refused, to a telling word of the message.
type words map[string]string

// keyTest has the values that a key accepts and refuses. refusedByAll has those that all keys of its kind refuse.
type keyTest struct {
	key       string
	kinds     string // what it may be besides one value: a list, a map; "-" if it may not be one value
	good, bad words
}

var (
	switches = words{"true": "true", "false": "false", "'true'": "true", "TRUE": "true"}
	noSwitch = words{"yes": "true or false", "1": "true or false", `""`: "true or false"}
	limits   = words{"100ms": "100ms", "24h": "24h0m0s", "'30s'": "30s"}
	noLimit  = words{"99ms": "100ms", "24h1s": "24h", "30": "unit", "soon": "30s"}
	oneWord  = words{"dc1": "dc1", "7": "7", `""`: "", "'a-b.c'": "a-b.c"}
	notWord  = words{"a b": "one word", "a,b": "one word"}
	paths    = words{"/etc/x": "/etc/x", "/etc//y/": "/etc/y", `""`: ""}
	notPath  = words{"etc/x": "absolute", "0d3f7a9c-11d2-4b0e-8c3e-secret": "absolute"}
)

func mainTests() []keyTest {
	long := strings.Repeat("x", 254)
	return []keyTest{
		{"stores", "list", words{"a:1": "[a:1]", "[a:1, 'https://b:2']": "[a:1 https://b:2]", "\n- a\n- b": "[a b]"},
			words{
				"[]": "1 to 64", "[" + strings.Repeat("a,", 65) + "]": "1 to 64", `""`: "empty", `[a, ""]`: "empty", "[[a]]": "a list",
				"a:1, http://me:secret@b": "one word", "a:1 b:1": "one word", `"a\u202eb"`: "printable",
			}},
		{"token_file", "", paths, notPath}, {"ca_file", "", paths, notPath},
		{"client_cert", "", words{"/c\nclient_key: /k": "/c", `""`: ""}, words{"c": "absolute", "/c": "client_key"}},
		{"client_key", "", words{"/k\nclient_cert: /c": "/k", `""`: ""}, words{"k": "absolute", "/k": "client_cert"}},
		{"tls_server_name", "", oneWord, notWord}, {"datacenter", "", oneWord, notWord},
		{"namespace", "", oneWord, notWord}, {"partition", "", oneWord, notWord},
		{"prefix", "", words{"kv": "kv", "/a/b/": "a/b", "17": "17"}, words{"a b": "' '", `""`: "empty"}},
		{"node", "", words{"web-17": "web-17", "17": "17", "web-17.example.com": "web-17.example.com", long[1:]: long[1:]},
			words{ // as --node
				"a/b": "'/'", `""`: "empty", "..": `".."`, ".web": "dot", "web 17": "' '", "n\u0153ud": `\u0153`, long: "253",
			}},
		{"vars", "map -",
			words{
				"{}": "", "{role: web}\ntargets: [{key: 'x-{role}', file: /x}]": "x-web",
				"{n: 017, t: true, e: '', f-1_A: 1.50}\ntargets: [{key: 'x-{n}-{t}-{e}{f-1_A}', file: /x}]": "x-017-true-1.50",
			},
			words{
				"{node: x}": `"node"`, "{datacenter: x}": `"datacenter"`, "{file: x}": `"file"`, "{a b: x}": "letters", "{'': x}": "letters",
				"{a: [x]}": `"a"`, "{a: }": `"a"`, `{a: "x\ty"}`: "printable", "{a: 1, a: 2}": "twice",
				"{a: [x]}\ntargets: [{key: 'x{a}', file: /x}]": `"a"`, // not its use as well
			}},
		{"state_dir", "", words{"/var/lib/kv/": "/var/lib/kv"}, notPath},
		{"listen", "",
			words{`""`: "", "/run//a.sock": "/run/a.sock", "127.0.0.1:0": "127.0.0.1:0", "'[::1]:9000'": "[::1]:9000", ":9000": ":9000"},
			words{
				"a.sock": "host:port", "a:http": "host:port", "a:65536": "host:port", "a:080": "host:port", "8080": "host:port",
				"/" + strings.Repeat("s", 107): "107",
			}},
		{"reconcile", "", words{"10s": "10s", "24h": "24h0m0s", "1h30m": "1h30m0s", "1d": "24h0m0s"},
			words{"9s": "10s", "25h": "24h", "60": "unit", "2d": "24h", "1y": "30s", `""`: "30s", "0": "10s"}},
		{"receipts", "", switches, noSwitch},
		{"send_output", "", switches, noSwitch},
		{"hubs", "list",
			words{
				"localhost:1": "[localhost:1]", "[127.0.0.1:1, '[::1]:2', /run//hub.sock]": "[127.0.0.1:1 [::1]:2 /run/hub.sock]",
				"a.example:8610\nhub_ca: /ca.pem": "[a.example:8610]",
			},
			words{
				"[]": "1 to 16", "[" + strings.Repeat("a,", 17) + "]": "1 to 16", `""`: "host:port", "localhost": "host:port",
				":8610": "host:port", "localhost:0": "host:port", "localhost:65536": "host:port", "http://localhost:1": "host:port",
				"a.example:8610": "hub_ca", "10.0.0.1:8610": "hub_ca", "[localhost:1, 'localhost.example:1']": "hub_ca",
				"[localhost:1, localhost:1]": "twice",
			}},
		{"hub_ca", "", paths, notPath}, {"hub_server_name", "", oneWord, notWord},
		{"hub_client_cert", "", words{"/c\nhub_client_key: /k": "/c", `""`: ""}, words{"c": "absolute", "/c": "hub_client_key"}},
		{"hub_client_key", "", words{"/k\nhub_client_cert: /c": "/k", `""`: ""}, words{"k": "absolute", "/k": "hub_client_cert"}},
		{"direct", "", switches, noSwitch},
		{"labels", "map -", words{"{}": "map[]", "{dc: a, rack: 17, e: ''}": "map[dc:a e: rack:17]"},
			words{
				"{'': x}": "1 to 64", "{" + long[:65] + ": x}": "1 to 64", "{a: " + long[:65] + "}": "65 bytes", "{a: [x]}": `"a"`,
				`{a: "x\ty"}`: "printable", `{"a\tb": x}`: "printable", "{a: 1, a: 2}": "twice",
				"{a1: x, a2: x, a3: x, a4: x, a5: x, a6: x, a7: x, a8: x, a9: x, a10: x, a11: x, a12: x, a13: x, a14: x, a15: x, a16: x, a17: x}": "17 labels",
			}},
		{"targets", "list -", words{"[]": "0"}, words{"[x]": "a map", "[[]]": "a map", "[~]": "a map"}},
	}
}

func targetTests() []keyTest {
	return []keyTest{
		{"key", "", words{"/team/app": "team/app", "'{node}/{role}-x'": "web-17/web-x", "'{role}{role}'": "webweb", "17": "17"},
			words{
				"a//b": "empty", `""`: "empty", "locks/x": `"locks"`, "x{dir}": `".."`, "x{rol}": "{role}", "x{other}": "vars",
				"x{datacenter}": "datacenter", "x{": "{node}", "x}": "{node}", "x{a{b}": "{node}",
			}},
		{"file", "",
			words{
				"/etc/x": "/etc/x", "/etc//a/../y": "/etc/y", "/etc/{role}/{node}.conf": "/etc/web/web-17.conf", "/x{dir}": "/etc",
				"'{dir}/y'": "/etc/y",
			},
			words{
				"etc/x": "absolute", `""`: "absolute", "/etc/": "folder", "/a/..": "folder", "/etc/{x}": "{x}",
				"/" + strings.Repeat("{dir}{big}", 16): "4095", "/etc/taken": "agent.yml:2",
			}},
		{"mode", "",
			words{
				`"0644"`: "-rw-r--r--", "0644": "-rw-r--r--", "644": "-rw-r--r--", "0o644": "-rw-r--r--", "04755": "urwxr-xr-x",
			},
			words{"0x1a4": "0x1a4", "6_44": "6_44", "644.0": "644.0", `""`: `""`, "420": "0644", "'493'": "0755"}},
		{"owner", "", words{"root": "0:0", "0": "0:0", "'0'": "0:0", "4242424": "4242424:", "root\n  group: 7": "0:7",
			"root:7": "0:7", "'4242424:'": "4242424:"},
			words{"no-such-user": "no-such-user", "-1": "-1", "4294967295": "4294967294", "root:-1": "-1", ":7": `""`}},
		{"group", "", words{"7": "7", "7\n  owner: root": "7"}, words{"no-such-group": "no-such-group", "-1": "-1", "4294967296": "4294967294"}},
		{"min_lines", "", words{"0": "0", "10": "10", "1000000000": "1000000000", "010": "10"},
			words{"-1": "0 to", "1000000001": "1000000000", "1.5": "1.5", "0x10": "0x10", "99999999999999999999": "1000000000"}},
		{"check", "list",
			words{
				"grep -q 'a b' {file}": `["grep" "-q" "a b" "{file}"]`, `[sh, -c, "a\n{file}"]`: `["sh" "-c" "a\n{file}"]`,
				"visudo -cf{file}": `["visudo" "-cf{file}"]`, ">\n    a\n    {file}": `["a" "{file}"]`,
			},
			words{"grep -q x": "{file}", "grep 'x": "quote", `""`: "empty", "[a, {file}]": "a map", "['', '{file}']": "program"}},
		{"exec", "list",
			words{
				"pkill -HUP dnsmasq": `["pkill" "-HUP" "dnsmasq"]`, "[a, '', 1, true]": `["a" "" "1" "true"]`,
				"\n  - a\n  - 'b c'": `["a" "b c"]`, "|\n    a\n    b #c": `["a" "b" "#c"]`,
			},
			words{
				"[]": "program", "[a, [b]]": "a list", "[a, ~]": "no value", `[a, "b\0"]`: "NUL", `"a\0"`: "NUL",
			}},
		{"probe", "list", words{"dig @127.0.0.1 x": `["dig" "@127.0.0.1" "x"]`, "test -s {file}": `["test" "-s" "/etc/hosts.consul"]`}, words{"[]": "program"}},
		{"check_timeout", "", limits, noLimit}, {"probe_timeout", "", limits, noLimit}, {"exec_timeout", "", limits, noLimit},
		{"in_place", "", switches, noSwitch}, {"restore_on_failure", "", switches, noSwitch}, {"refuse_older", "", switches, noSwitch},
		{"spread", "", words{"0": "0s", "30s": "30s", "24h": "24h0m0s"}, words{"-1s": "0s", "24h1s": "24h", "5": "unit"}},
		{"exec_every", "", words{"1s\n  exec: a": "1s", "24h\n  exec: a": "24h0m0s"},
			words{"999ms": "1s", "-30s": "1s", "0": "1s", "25h": "24h", "30": "unit"}},
	}
}

// refusedByAll has the values that every key of these kinds refuses.
func refusedByAll(kinds string) words {
	bad := words{"": "no value", "~": "no value", "!!str x": "tagged", "&a x": "anchor"}
	if !strings.Contains(kinds, "list") {
		bad["[a]"] = "a list"
	}
	if !strings.Contains(kinds, "map") {
		bad["{a: b}"] = "a map"
	}
	if strings.Contains(kinds, "-") {
		bad["word"] = "one value"
	} else if kinds == "" {
		bad[`"a\nb"`] = "printable"
	}
	return bad
}

// mainValue is the parsed value of a key of the main file.
func mainValue(c Config, key string) string {
	s := c.Store
	switch key {
	case "vars": // by what they are for
		keys := ""
		for _, target := range c.Targets {
			keys += string(target.Key)
		}
		return keys
	case "targets":
		return fmt.Sprint(len(c.Targets))
	}
	return fmt.Sprint(map[string]any{
		"stores": s.Addrs, "token_file": s.TokenFile, "ca_file": s.CAFile, "client_cert": s.ClientCert, "client_key": s.ClientKey,
		"tls_server_name": s.ServerName, "datacenter": s.Datacenter, "namespace": s.Namespace, "partition": s.Partition,
		"prefix": c.Layout.Prefix(), "node": c.Node, "state_dir": c.StateDir, "listen": c.Listen, "reconcile": c.Reconcile,
		"receipts": c.Receipts, "send_output": c.Output, "hubs": c.Hubs.Addrs, "hub_ca": c.Hubs.CAFile, "hub_server_name": c.Hubs.ServerName,
		"hub_client_cert": c.Hubs.ClientCert, "hub_client_key": c.Hubs.ClientKey, "direct": c.Hubs.Direct, "labels": c.Labels,
	}[key])
}

func targetValue(t Target, key string) string {
	id := func(n *int) string {
		if n == nil {
			return ""
		}
		return fmt.Sprint(*n)
	}
	switch key {
	case "mode":
		return t.Mode.String()
	case "check", "exec", "probe":
		return fmt.Sprintf("%q", map[string][]string{"check": t.Check, "exec": t.Exec, "probe": t.Probe}[key])
	}
	return fmt.Sprint(map[string]any{
		"key": t.Key, "file": t.File, "min_lines": t.MinLines, "check_timeout": t.CheckTimeout, "exec_timeout": t.ExecTimeout,
		"probe_timeout": t.ProbeTimeout,
		"in_place":      t.InPlace, "restore_on_failure": t.RestoreOnFailure, "refuse_older": t.RefuseOlder, "spread": t.Spread,
		"exec_every": t.ExecEvery,
		"owner":      id(t.UID) + ":" + id(t.GID), "group": id(t.GID),
	}[key])
}

// testKeys tries each value in a file with the key on that line. All keys must have a test.
func testKeys(t *testing.T, tests []keyTest, all map[string]func(value), line int, file func(key, value string) string,
	became func(Config, string) string,
) {
	t.Helper()
	for _, test := range tests {
		delete(all, test.key)
		for value, want := range test.good {
			c, err := load(t, map[string]string{"agent.yml": file(test.key, value)})
			if err != nil {
				t.Errorf("%s: %.80s: %v", test.key, value, err)
			} else if got := became(c, test.key); got != want {
				t.Errorf("%s: %.80s became %.80s, want %.80s", test.key, value, got, want)
			}
		}
		for _, bad := range []words{test.bad, refusedByAll(test.kinds)} {
			for value, want := range bad {
				_, err := load(t, map[string]string{"agent.yml": file(test.key, value)})
				wantError(t, err, fmt.Sprintf("agent.yml:%d %s", line, want))
				if err != nil && (strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), test.key) && want != "twice") {
					t.Errorf("%s: %.80s: the message names no key, or a secret: %v", test.key, value, err)
				}
			}
		}
	}
	if len(all) > 0 {
		t.Errorf("not tested: %q", slices.Sorted(maps.Keys(all)))
	}
}

func TestMainKeys(t *testing.T) {
	testKeys(t, mainTests(), (&loader{}).mainSetters(), 1, mainFile, mainValue)
}

func TestTargetKeys(t *testing.T) {
	became := func(c Config, key string) string { return targetValue(c.Targets[1], key) }
	testKeys(t, targetTests(), (&loader{}).targetSetters(&Target{}), 3, targetFile, became)
}

// mainFile is an agent.yml with a key of the main file.
func mainFile(key, value string) string { return key + ": " + value + "\n" }

// targetFile is an agent.yml whose second target has a key.
func targetFile(key, value string) string {
	text := "targets:\n- {key: other, file: /etc/taken}\n- " + key + ": " + value
	for name, value := range map[string]string{"key": "hosts", "file": "/etc/hosts.consul"} {
		if name != key {
			text += "\n  " + name + ": " + value
		}
	}
	return text + "\nvars: {role: web, dir: /../etc, big: " + strings.Repeat("b", 254) + "}\n"
}
