package agentfile

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// keyTest is a line of a file, what it must become, and what is said of others.
type keyTest struct {
	key  string
	good map[string]string // value → what it is then
	bad  map[string]string // value → the message after "agent.yml:N: "
}

const (
	notAddress  = "stores: this is not an address such as 127.0.0.1:8500, or a list of them"
	notAbsolute = "this is not an absolute path; begin it with /"
	oneWord     = "this is not one word"
	notTime     = "is not a time such as 30s or 5m"
	notSwitch   = "is not true or false"
)

func mainTests() []keyTest {
	long := strings.Repeat("x", 300)
	words := func(key string) keyTest {
		return keyTest{key,
			map[string]string{"dc1": "dc1", "7": "7", `""`: "", "'a-b.c'": "a-b.c"},
			map[string]string{
				"a b": key + ": " + oneWord, `"a\nb"`: key + ": " + oneWord, "[a]": key + " is a list; give one word",
				"": key + " has no value; give one word, or remove it",
			}}
	}
	paths := func(key string) keyTest {
		return keyTest{key,
			map[string]string{"/etc/x": "/etc/x", "/etc//y/": "/etc/y", `""`: ""},
			map[string]string{
				"etc/x": key + ": " + notAbsolute, "0d3f7a9c-11d2-4b0e-8c3e-secret": key + ": " + notAbsolute, `"/a\u0000"`: key + ": " + notAbsolute,
				"{a: b}": key + " is a map; give an absolute path; begin it with /; text that begins with { belongs in quotes",
			}}
	}
	return []keyTest{
		{"stores",
			map[string]string{
				"127.0.0.1:8500": "[127.0.0.1:8500]", "[a:1, 'https://b:2']": "[a:1 https://b:2]", "\n- a\n- b": "[a b]",
			},
			map[string]string{
				"":   "stores has no value; give an address such as 127.0.0.1:8500, or a list of them, or remove it",
				"[]": "stores: a list of 0; give 1 to 64 addresses, or remove it", `""`: notAddress, `[a, ""]`: notAddress,
				"a:1, http://me:secret@b": notAddress, "a:1 b:1": notAddress, `"a\u202eb"`: notAddress,
				"[" + strings.Repeat("a,", 65) + "]": "stores: a list of 65; give 1 to 64 addresses, or remove it",
				"[[a]]":                              "stores is a list; give an address such as 127.0.0.1:8500, or a list of them",
			}},
		paths("token_file"), paths("ca_file"),
		{"client_cert",
			map[string]string{"/c\nclient_key: /k": "/c", `""`: ""},
			map[string]string{"c": "client_cert: " + notAbsolute, "/c": "client_cert needs client_key beside it"}},
		{"client_key",
			map[string]string{"/k\nclient_cert: /c": "/k", `""`: ""},
			map[string]string{"k": "client_key: " + notAbsolute, "/k": "client_key needs client_cert beside it"}},
		words("tls_server_name"), words("datacenter"), words("namespace"), words("partition"),
		{"prefix",
			map[string]string{"kv": "kv", "/a/b/": "a/b", "17": "17"},
			map[string]string{
				"a b": `prefix "a b": the part "a b" contains ' '; allowed are letters, digits and . _ -`, `""`: `prefix "": the prefix is empty`,
				"~": "prefix has no value; give a name such as kvexpress, or remove it", "[a]": "prefix is a list; give a name such as kvexpress",
			}},
		{"node",
			map[string]string{"web-17": "web-17", "17": "17", "a.b": "a.b", strings.Repeat("n", 253): strings.Repeat("n", 253), "nœud": "nœud"},
			map[string]string{
				"a/b": `node: "a/b" contains a slash; give a name without`, `""`: `node: "" is empty; give a name, or remove it for the host's`,
				"..": `node: ".." is not a name`, `"a\u0007b"`: `node: "a\ab" is not one printable line; give the node's name`,
				strings.Repeat("n", 254): `node: "` + strings.Repeat("n", 80) + `"... (254 bytes) is too long; at most 253 bytes are allowed`,
				"{}":                     "node is a map; give the node's name; text that begins with { belongs in quotes",
			}},
		{"vars",
			map[string]string{
				"{}": "", "{role: web}\ntargets: [{key: 'x-{role}', file: /x}]": "x-web",
				"{n: 017, t: true, e: '', f-1_A: 1.50}\ntargets: [{key: 'x-{n}-{t}-{e}{f-1_A}', file: /x}]": "x-017-true-1.50",
			},
			map[string]string{
				"[a]": "vars is a list; give a map such as {role: web}", "": "vars has no value; give a map such as {role: web}, or remove it",
				"{node: x}":         `vars: "node": {node} has a meaning already; choose another name`,
				"{datacenter: x}":   `vars: "datacenter": {datacenter} has a meaning already; choose another name`,
				"{file: x}":         `vars: "file": {file} has a meaning already; choose another name`,
				"{1a: x}":           `vars: "1a": not a name; use a letter, then letters, digits, _ and -, at most 32 in all`,
				"{a b: x}":          `vars: "a b": not a name; use a letter, then letters, digits, _ and -, at most 32 in all`,
				"{a: [x]}":          `vars: "a" is a list; give text or a number`,
				"{a: }":             `vars: "a" has no value; give text or a number, or remove it`,
				`{a: "x\ty"}`:       `vars: "a": "x\ty" is not one printable line; give text or a number`,
				"{a: " + long + "}": `vars: "a": 300 bytes, at most 256 are allowed`,
				"{a: 1, a: 2}":      `"a" is given twice; it is on line 1 too`,
				manyVars():          "vars: there are 65, at most 64 are allowed",
			}},
		{"state_dir",
			map[string]string{"/var/lib/kv/": "/var/lib/kv"},
			map[string]string{"lib": "state_dir: " + notAbsolute, `""`: "state_dir: " + notAbsolute, "[]": "state_dir is a list; give " + notAbsolute[len("this is not "):]}},
		{"listen",
			map[string]string{`""`: "", "/run//a.sock": "/run/a.sock", "127.0.0.1:0": "127.0.0.1:0", "'[::1]:9000'": "[::1]:9000", ":9000": ":9000", "localhost:65535": "localhost:65535"},
			map[string]string{
				"a.sock":                       `listen: "a.sock" is not an absolute path of a socket, host:port, or "" for none`,
				"a:http":                       `listen: "a:http" is not an absolute path of a socket, host:port, or "" for none`,
				"a:65536":                      `listen: "a:65536" is not an absolute path of a socket, host:port, or "" for none`,
				"a:080":                        `listen: "a:080" is not an absolute path of a socket, host:port, or "" for none`,
				"8080":                         `listen: "8080" is not an absolute path of a socket, host:port, or "" for none`,
				"":                             `listen has no value; give an absolute path of a socket, host:port, or "" for none, or remove it`,
				"/" + strings.Repeat("s", 107): `listen: "/` + strings.Repeat("s", 79) + `"... (108 bytes) is too long for a socket; at most 107 bytes are allowed`,
			}},
		{"reconcile",
			map[string]string{"10s": "10s", "24h": "24h0m0s", "1h30m": "1h30m0s"},
			map[string]string{
				"9s": `reconcile: "9s" is out of range; it may be from 10s to 24h`, "25h": `reconcile: "25h" is out of range; it may be from 10s to 24h`,
				"60": `reconcile: "60" has no unit; write 60s if seconds are meant`, "1d": `reconcile: "1d" ` + notTime, `""`: `reconcile: "" ` + notTime,
				"[5m]": "reconcile is a list; give a time such as 30s or 5m", "99999999999h": `reconcile: "99999999999h" ` + notTime, "0": `reconcile: "0" is out of range; it may be from 10s to 24h`,
			}},
		switches("receipts"),
		{"targets",
			map[string]string{"[]": "0"},
			map[string]string{
				"": "targets has no value; give a list, or [] for none, or remove it", "{a: b}": "targets is a map; give a list, or [] for none; text that begins with { belongs in quotes",
				"[x]": "a target is a single value; give a map with key and file", "[[]]": "a target is a list; give a map with key and file",
				"[~]": "a target has no value; give a map with key and file, or remove it",
			}},
	}
}

func switches(key string) keyTest {
	return keyTest{key,
		map[string]string{"true": "true", "false": "false", "'true'": "true"},
		map[string]string{"yes": key + `: "yes" ` + notSwitch, "1": key + `: "1" ` + notSwitch, "[true]": key + " is a list; give true or false", "": key + " has no value; give true or false, or remove it"},
	}
}

func manyVars() string {
	var b strings.Builder
	for i := range 65 {
		fmt.Fprintf(&b, "v%d: x, ", i)
	}
	return "{" + b.String() + "}"
}

func targetTests() []keyTest {
	timeouts := func(key string) keyTest {
		return keyTest{key,
			map[string]string{"100ms": "100ms", "24h": "24h0m0s", "'30s'": "30s"},
			map[string]string{
				"99ms": key + `: "99ms" is out of range; it may be from 100ms to 24h`, "30": key + `: "30" has no unit; write 30s if seconds are meant`,
				"soon": key + `: "soon" ` + notTime, "": key + " has no value; give a time such as 30s or 5m, or remove it",
			}}
	}
	return []keyTest{
		{"key",
			map[string]string{"/team/app": "team/app", "'{node}/{role}-x'": "web-17/web-x", "'{role}{role}'": "webweb", "17": "17"},
			map[string]string{
				"a//b": `key "a//b": a part between slashes is empty`, `""`: `key "": the name is empty`, "locks/x": `key "locks/x": the part "locks" is reserved at the beginning`,
				"x{rol}":        `key: "{rol}" is not known; did you mean {role}?`,
				"x{other}":      `key: "{other}" is not known; add "other" to vars in agent.yml, or use one of {big}, {dir}, {node}, {role}`,
				"x{datacenter}": "key: {datacenter} is not known; set datacenter in agent.yml",
				"x{":            "key: a { or } stands alone; write {node} for the node's name, and no brackets for anything else",
				"x}":            "key: a { or } stands alone; write {node} for the node's name, and no brackets for anything else",
				"x{a{b}":        "key: a { or } stands alone; write {node} for the node's name, and no brackets for anything else",
				"x{dir}":        `key "x/../etc": the part ".." is not allowed`,
				"{node}":        "key is a map; give a name such as hosts; text that begins with { belongs in quotes",
				"[a]":           "key is a list; give a name such as hosts", "": "key has no value; give a name such as hosts, or remove it",
				`"a\nb"`: `key: "a\nb" is not one printable line; give a name such as hosts`,
			}},
		{"file",
			map[string]string{"/etc/x": "/etc/x", "/etc//a/../y": "/etc/y", "/etc/{role}/{node}.conf": "/etc/web/web-17.conf", "/x{dir}": "/etc", "'{dir}/y'": "/etc/y"},
			map[string]string{
				"etc/x": `file: "etc/x" is not absolute; begin it with /`, `""`: `file: "" is not absolute; begin it with /`, "/etc/": `file: "/etc/" names a folder; give a file`, "/a/..": `file: "/a/.." names a folder; give a file`,
				`"/a\0"`: `file: "/a\x00" is not one printable line; give an absolute path`, "/etc/{x}": `file: "{x}" is not known; add "x" to vars in agent.yml, or use one of {big}, {dir}, {node}, {role}`,
				"/" + strings.Repeat("{dir}{big}", 16): `file: "//../etc` + strings.Repeat("b", 72) + `"... (4177 bytes) is too long, at most 4095 bytes are allowed`,
				"[/a]":                                 "file is a list; give an absolute path", "": "file has no value; give an absolute path, or remove it",
				"/etc/taken": `file: "/etc/taken" is the file of the target at agent.yml:2 too; give each target its own`,
			}},
		{"mode",
			map[string]string{`"0644"`: "0644", "0644": "0644", "644": "0644", "0o644": "0644", "00644": "0644", "04755": "4755", "2750": "2750", "1777": "1777", "0": "0000", "0420": "0420", "705": "0705", "511": "0511", "470": "0470"},
			map[string]string{
				"0x1a4": `mode: "0x1a4" is not a mode; give octal digits such as "0644"`, "0888": `mode: "0888" is not a mode; give octal digits such as "0644"`, "rw-r--r--": `mode: "rw-r--r--" is not a mode; give octal digits such as "0644"`,
				"10000": `mode: "10000" is not a mode; give octal digits such as "0644"`, "-644": `mode: "-644" is not a mode; give octal digits such as "0644"`, "6_44": `mode: "6_44" is not a mode; give octal digits such as "0644"`,
				"644.0": `mode: "644.0" is not a mode; give octal digits such as "0644"`, `""`: `mode: "" is not a mode; give octal digits such as "0644"`,
				"420": `mode: 420 looks like a decimal number, and modes are octal; write "0644"`, "'493'": `mode: 493 looks like a decimal number, and modes are octal; write "0755"`,
				"384": `mode: 384 looks like a decimal number, and modes are octal; write "0600"`, "416": `mode: 416 looks like a decimal number, and modes are octal; write "0640"`,
				"": `mode has no value; give octal digits such as "0644", or remove it`, "[6, 4, 4]": `mode is a list; give octal digits such as "0644"`,
			}},
		{"owner",
			map[string]string{"root": "0:0", "0": "0:0", "'0'": "0:0", "4242424": "4242424:", "root\n  group: 7": "0:7"},
			map[string]string{
				"no-such-user": `owner: the owner "no-such-user" is not known on this machine; create the user, or give a numeric id`,
				"-1":           `owner: the owner "-1" is not a user id`, "": "owner has no value; give a user's name or number, or remove it", "[root]": "owner is a list; give a user's name or number",
			}},
		{"group",
			map[string]string{"7": "7", "7\n  owner: root": "7"},
			map[string]string{
				"no-such-group": `group: the group "no-such-group" is not known on this machine; create the group, or give a numeric id`,
				"-1":            `group: the group "-1" is not a group id`, "{}": "group is a map; give a group's name or number; text that begins with { belongs in quotes",
			}},
		{"min_lines",
			map[string]string{"0": "0", "10": "10", "1000000000": "1000000000", "010": "10"},
			map[string]string{
				"-1": `min_lines: "-1" is not a whole number from 0 to 1000000000`, "1000000001": `min_lines: "1000000001" is not a whole number from 0 to 1000000000`, "1.5": `min_lines: "1.5" is not a whole number from 0 to 1000000000`,
				"0x10": `min_lines: "0x10" is not a whole number from 0 to 1000000000`, "99999999999999999999": `min_lines: "99999999999999999999" is not a whole number from 0 to 1000000000`,
				"[1]": "min_lines is a list; give a whole number from 0 to 1000000000", "": "min_lines has no value; give a whole number from 0 to 1000000000, or remove it",
			}},
		{"check",
			map[string]string{`grep -q 'a b' {file}`: `["grep" "-q" "a b" "{file}"]`, `[sh, -c, "test -s {file}"]`: `["sh" "-c" "test -s {file}"]`, `visudo -cf{file}`: `["visudo" "-cf{file}"]`, ">\n    a\n    {file}": `["a" "{file}"]`},
			map[string]string{
				"grep -q x":      "check: the check does not look at the new file; write {file} where its path belongs",
				"grep 'x":        "check: command line, position 6: the quote ' is not closed",
				`""`:             "check: command line: it is empty",
				"[a, {file}]":    "a word of check is a map; give text; text that begins with { belongs in quotes",
				"{file}":         "check is a map; give a command, or a list of its words; text that begins with { belongs in quotes",
				"['', '{file}']": "check: the program's name is empty",
			}},
		{"exec",
			map[string]string{"pkill -HUP dnsmasq": `["pkill" "-HUP" "dnsmasq"]`, "[a, '', 1, true]": `["a" "" "1" "true"]`, "\n  - a\n  - 'b c'": `["a" "b c"]`, "|\n    a\n    b #c": `["a" "b" "#c"]`},
			map[string]string{
				"[]": "exec: the list is empty; give the words of a command, or remove it", "": "exec has no value; give a command, or a list of its words, or remove it",
				"[a, [b]]": "a word of exec is a list; give text", "[a, ~]": "a word of exec has no value; give text, or remove it", `[a, "b\0"]`: "a word of exec: a NUL byte is not allowed",
				"[" + strings.Repeat("a,", 1025) + "]": "exec: it has 1025 words, at most 1024 are allowed", `"a\0"`: "exec: command line, position 2: a NUL byte is not allowed",
			}},
		timeouts("check_timeout"), timeouts("exec_timeout"),
		switches("in_place"), switches("restore_on_failure"), switches("refuse_older"),
		{"spread",
			map[string]string{"0": "0s", "30s": "30s", "24h": "24h0m0s"},
			map[string]string{"-1s": `spread: "-1s" is out of range; it may be from 0s to 24h`, "24h1s": `spread: "24h1s" is out of range; it may be from 0s to 24h`, "5": `spread: "5" has no unit; write 5s if seconds are meant`},
		},
	}
}

// mainValue is what a key of the main file became.
func mainValue(c Config, key string) string {
	s := c.Store
	switch key {
	case "stores":
		return fmt.Sprint(s.Addrs)
	case "prefix":
		return c.Layout.Prefix()
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
		"token_file": s.TokenFile, "ca_file": s.CAFile, "client_cert": s.ClientCert, "client_key": s.ClientKey, "tls_server_name": s.ServerName, "datacenter": s.Datacenter,
		"namespace": s.Namespace, "partition": s.Partition, "node": c.Node, "state_dir": c.StateDir, "listen": c.Listen, "reconcile": c.Reconcile, "receipts": c.Receipts,
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
		bits := uint32(t.Mode.Perm())
		for _, c := range t.Mode.String()[:3] { // such as "urw": setuid
			bits |= map[rune]uint32{'u': 0o4000, 'g': 0o2000, 't': 0o1000}[c]
		}
		return fmt.Sprintf("%04o", bits)
	case "owner":
		return id(t.UID) + ":" + id(t.GID)
	case "group":
		return id(t.GID)
	case "check":
		return fmt.Sprintf("%q", t.Check)
	case "exec":
		return fmt.Sprintf("%q", t.Exec)
	}
	return fmt.Sprint(map[string]any{
		"key": t.Key, "file": t.File, "min_lines": t.MinLines, "check_timeout": t.CheckTimeout, "exec_timeout": t.ExecTimeout, "in_place": t.InPlace,
		"restore_on_failure": t.RestoreOnFailure, "refuse_older": t.RefuseOlder, "spread": t.Spread,
	}[key])
}

func TestMainKeys(t *testing.T) {
	var tested []string
	for _, test := range mainTests() {
		tested = append(tested, test.key)
		for value, want := range test.good {
			c, err := load(t, map[string]string{"agent.yml": test.key + ": " + value + "\n"})
			got := mainValue(c, test.key)
			if err != nil || got != want {
				t.Errorf("%s: %.80s became %.80s, want %.80s; %v", test.key, value, got, want, err)
			}
		}
		for value, want := range test.bad {
			_, err := load(t, map[string]string{"agent.yml": test.key + ": " + value + "\n"})
			wantError(t, err, "agent.yml:1: "+want)
		}
	}
	if !slices.Equal(tested, names(mainFields())) {
		t.Errorf("tested are\n%q, the keys are\n%q", tested, names(mainFields()))
	}
}

func TestTargetKeys(t *testing.T) {
	const head = "targets:\n- {key: other, file: /etc/taken}\n- "
	foot := "\nvars: {role: web, dir: /../etc, big: " + strings.Repeat("b", 254) + "}\n"
	others := func(key string) string {
		s := ""
		for name, value := range map[string]string{"key": "hosts", "file": "/etc/hosts.consul"} {
			if name != key {
				s += "\n  " + name + ": " + value
			}
		}
		return s
	}
	var tested []string
	for _, test := range targetTests() {
		tested = append(tested, test.key)
		for value, want := range test.good {
			c, err := load(t, map[string]string{"agent.yml": head + test.key + ": " + value + others(test.key) + foot})
			if err != nil || targetValue(c.Targets[1], test.key) != want {
				t.Errorf("%s: %.80s became %+v, want %.80s; %v", test.key, value, c.Targets, want, err)
			}
		}
		for value, want := range test.bad {
			_, err := load(t, map[string]string{"agent.yml": head + test.key + ": " + value + others(test.key) + foot})
			wantError(t, err, "agent.yml:3: "+want)
		}
	}
	if !slices.Equal(tested, names(targetFields())) {
		t.Errorf("tested are\n%q, the keys are\n%q", tested, names(targetFields()))
	}
}
