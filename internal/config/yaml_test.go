package config

import (
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// YAML features that this file does not use are refused, with their line.
func TestRefusedYAML(t *testing.T) {
	for text, want := range map[string]string{
		"": "1 empty", "# nothing\n---\n": "1 empty", "null": "1 empty",
		"hosts": "1 a map", "- key: hosts": "1 a list",
		"\n\nnode: &a x": "3 node: this is an anchor", "vars: {a: &b x, c: *b}": "1 alias\n agent.yml:1 alias",
		"vars: {a: *b}": "1 unknown anchor", "targets:\n- <<: {key: k}\n  key: y\n  file: /z": `2 "<<"`,
		"node: !!str x": "1 tagged", "%YAML 3.2\n---\nnode: x": "1 YAML", "node: x\n---\nnode: y": "2 second document",
		"node: x\n...\nprefix: y": "3 second", "targets:\n\t- key: x": "2 YAML", "node: x\nprefix: a\x00b": "2 control character",
		"node: x\nprefix: \xff": "2 UTF-8", "node: \"a": "1 quoted scalar", `node: "\s"`: "1 escape", "node: @x": "1 YAML",
		"node: a: b": "1 YAML", "targets:\n- key: x\n   file: y": "3 YAML", "targets:\n  - key: x\n file: y": "3 YAML",
		"targets: [": "1 YAML", "[a]: b": "1 a key is a list", "~: x": "1 a key is empty",
		"prefix: x\nnode: y\nprefix: z": "3 line 1", "'node': x\n\"node\": y": "2 twice",
		"nodes: x": `1 did you mean "node"`, "state-dir: /x": `1 did you mean "state_dir"`, "colour: red": `1 unknown key "colour"`,
		"min_lines: 1": "1 belongs to a target", "token: 0d3f7a9c": "1 token_file", "\"a\\nb\": c": `1 "a\nb"`,
		"targets: [{key: x, file: /x, prefix: y}]": "1 at the top of",
		strings.Repeat("k", 5000) + ": x":          "1 5000 bytes",
		"a: " + strings.Repeat("[", 10_001):        "1 depth",
	} {
		_, err := load(t, map[string]string{"agent.yml": text})
		wantError(t, err, "agent.yml:"+want)
	}
}

// The usual spellings of people and programs are accepted.
func TestTakenYAML(t *testing.T) {
	for text, want := range map[string]string{
		"\ufeffca_file: /x\r\nprefix: y\r\n":         "/x",
		"# by a program\n---\nca_file: /x\n...\n":    "/x",
		"---\n# more\nca_file: /x\t# a\tcomment\t\n": "/x",
		"{\"ca_file\": \"/x\"}":                      "/x",
		"? ca_file\n: /x":                            "/x",
		"ca_file:\n  /x":                             "/x",
		"ca_file: '/it''s'":                          "/it's",
		"ca_file: >-\n  /x\n":                        "/x",
		"ca_file: |- # why\n  /# x\n":                "/# x",
		"ca_file: \"/a \\\n  b\"":                    "/a b",
		"ca_file: '/a\n  '' b'":                      "/a ' b",
		"ca_file: '/a\n  ''''b c'":                   "/a ''b c",
		"ca_file: /a\n  b #c\nprefix: c":             "/a b",
		"ca_file: /a#b":                              "/a#b",
	} {
		c, err := load(t, map[string]string{"agent.yml": text})
		if err != nil || c.Store.CAFile != want {
			t.Errorf("%q: the file is %q, want %q; %v", text, c.Store.CAFile, want, err)
		}
	}
}

// Each line of a bomb has nine aliases of the one before: 353 bytes that stand for a billion words.
func bomb() string {
	var b strings.Builder
	b.WriteString("a: &a [x,x,x,x,x,x,x,x,x]\n")
	for c := 'b'; c <= 'i'; c++ {
		fmt.Fprintf(&b, "%c: &%c [%s]\n", c, c, strings.Repeat(fmt.Sprintf("*%c,", c-1), 9))
	}
	return b.String() + "vars: *i\n"
}

// However a file of a MiB is made, it is refused, in a second or so and with bounded memory.
func TestHostile(t *testing.T) {
	cpu := func() int64 { // seconds of this process
		var used syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
			t.Fatal(err)
		}
		return used.Utime.Sec + used.Stime.Sec
	}
	fill := func(s string) string { return strings.Repeat(s, (maxFile-1000)/len(s)) }
	var keys strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&keys, "k%d: v\n", i)
	}
	for name, text := range map[string]string{
		"bomb": bomb(), "brackets": fill("["), "lines of braces": fill("{a:\n"), "dashes": fill("- "), "keys": keys.String(),
		"one key": fill("k: v\n"), "items": "targets: [" + fill("a,\n") + "]", "lines of items": "targets:\n" + fill("- a\n"),
		"maps": "[" + fill("{a: b},") + "]", "aliases": "a: &a x\n" + fill("b: *a\n"),
		"comments of items": "a:\n" + fill("- x #\n  #\n\n"), "blank lines": "a: |\n" + fill("\n"),
		"a long key": fill("k") + ": v", "documents": fill("---\n"), "an alias": "a: *" + fill("a"),
		"a long word": "vars: {a: " + fill("a") + "}\ntargets: [{key: '{a}{a}', file: /x}]",
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		start := cpu()
		_, err := load(t, map[string]string{"agent.yml": text})
		took := cpu() - start
		runtime.ReadMemStats(&after)
		if err == nil {
			t.Errorf("%s: no error", name)
		} else if mb := (after.TotalAlloc - before.TotalAlloc) >> 20; mb > 1500 || took > 10 || len(err.Error()) > 10_000 {
			t.Errorf("%s: %d MB, %d s, a message of %d bytes", name, mb, took, len(err.Error()))
		}
	}
}

// A configuration outlives its files by weeks, and keeps nothing of their text or its tree: those are some 20 times as
// large, and an idle agent has 6 MB for everything.
func TestRetained(t *testing.T) {
	head, target, _ := strings.Cut(example, "  - key:")
	for i := range 1000 {
		head += "  - key:" + strings.ReplaceAll(target, "hosts.consul", fmt.Sprint("hosts.", i))
	}
	path := filepath.Join(folder(t, map[string]string{"agent.yml": head}), "agent.yml")
	heap := func() int64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	c, err := Load(path, env())
	if err != nil {
		t.Fatal(err)
	}
	if kept := heap() - before; kept > 2<<20 {
		t.Errorf("a configuration of 1000 targets keeps %d bytes", kept)
	}
	runtime.KeepAlive(c)
}
