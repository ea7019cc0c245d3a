package agentfile

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// What YAML has and this file has no use for, is refused where it stands, and says
// what to write.
func TestRefusedYAML(t *testing.T) {
	const (
		anchor = "would be an anchor or alias, which are not taken here; if it is text, put it in quotes"
		indent = "; look at how the lines are indented"
		tooFar = "lists and maps are nested too deeply; nothing here needs more than four levels"
		tab    = `a tab is not allowed here; write spaces, or \t between double quotes`
	)
	for text, want := range map[string]string{
		"":                                      "1: the file is empty; give at least targets: []",
		"# nothing\n---\n":                      "1: the file is empty; give at least targets: []",
		"null":                                  "1: the file is empty; give at least targets: []",
		"hosts":                                 "1: the file is a single value; give a map with stores, targets and others",
		"- key: hosts":                          "1: the file is a list; give a map with stores, targets and others",
		"\n\nnode: &a x":                        "3: a value that begins with & " + anchor,
		"vars: {a: *b}":                         "1: a value that begins with * " + anchor,
		"targets:\n- <<: x\n  key: y":           "2: merge keys (<<) are not taken here; write out what they stand for",
		"node: !!str x":                         "1: a value that begins with ! would be a tag, which are not taken here; if it is text, put it in quotes",
		"? node\n: x":                           `1: a key that begins with ? is not taken here; write "name: value"`,
		"%YAML 1.2\n---\nnode: x":               "1: lines that begin with % are not taken here; remove it",
		"node: x\n---\nnode: y":                 "2: a second document begins here; one file holds one, so remove the ---, or use files in conf.d",
		"node: x\n...\nprefix: y":               "3: the document has ended before this (...); remove that line",
		"targets:\n\t- key: x":                  "2: " + tab,
		"node:\tx":                              "1: " + tab,
		"targets:\n- exec: echo a\tb":           "2: " + tab,
		"targets:\n- exec: 'echo a\tb'":         "2: " + tab,
		"node: a\x00b":                          `1: the control character '\x00' is not allowed`,
		"node: x\n# \x1b[31m":                   `2: the control character '\x1b' is not allowed`,
		"node: a\rb":                            `1: the control character '\r' is not allowed`,
		"node: x\nprefix: \xff":                 "2: this is not UTF-8 text",
		"node: 'a\n  '' b'":                     "1: a line within single quotes begins with '' and a space; write the value in one line",
		"node: 'a\n  ''\n  b'":                  "1: a line within single quotes begins with '' and a space; write the value in one line",
		"node: a\n  - b #c":                     "2: a value that goes on over several lines has a # in it; write it in one line, and in quotes if the # is no comment",
		"node: \"a":                             "1: this is not YAML: could not find end character of double-quoted text",
		`node: "\s"`:                            "1: this is not YAML: found unknown escape character 's'; between single quotes a backslash is itself",
		"node: @x":                              "1: this is not YAML: '@' is a reserved character; put the value in quotes",
		"node: a: b":                            `1: this is not YAML: mapping value is not allowed in this context` + indent + `, and put a value that holds ": " in quotes`,
		"targets:\n- key: x\n   file: y":        `2: this is not YAML: mapping value is not allowed in this context` + indent + `, and put a value that holds ": " in quotes`,
		"targets:\n  - key: x\n file: y":        "3: this is not YAML: value is not allowed in this context" + indent,
		"targets: [":                            "1: this is not YAML: sequence end token ']' not found",
		"{[a]: b}":                              "1: this is not YAML: found an invalid key for this map",
		"prefix: x\nnode: y\nprefix: z":         `3: "prefix" is given twice; it is on line 1 too`,
		"'node': x\n\"node\": y":                `2: "node" is given twice; it is on line 1 too`,
		"nodes: x":                              `1: unknown key "nodes"; did you mean "node"?`,
		"state-dir: /x":                         `1: unknown key "state-dir"; did you mean "state_dir"?`,
		"min_lines: 1":                          `1: unknown key "min_lines"; it belongs to a target`,
		"token: 0d3f7a9c":                       `1: unknown key "token"; put the token in a file of its own and give token_file`,
		"colour: red":                           `1: unknown key "colour"`,
		"\"a\\nb\": c":                          `1: unknown key "a\nb"`,
		strings.Repeat("k", 65) + ": x":         "1: a key has 65 bytes, at most 64 are allowed",
		"node: " + strings.Repeat("x", maxLine): "1: the line has 4102 bytes, at most 4096 are allowed; fold it, or put a long command into a script",
		"node: x" + strings.Repeat("\n", 103):   "102: there are more than 100 blank lines in a row; remove some",
		"a: " + strings.Repeat("[", 16):         "1: " + tooFar,
		"a: " + strings.Repeat("{b: ", 16):      "1: " + tooFar,
		strings.Repeat("- ", 17):                "1: " + tooFar,
		stairs(17):                              "17: " + tooFar,
		"[\n" + stairs(16) + "]":                "17: " + tooFar,
		"~: x":                                  "1: a key is empty; give a word",
		strings.Repeat("[\n", 100_001):          "100001: there is too much in one file; spread the targets over files in conf.d",
		strings.Repeat("- a\n", 25_001):         "1: there is too much in one file; spread the targets over files in conf.d",
		strings.Repeat("k: v\n", 201):           "201: a map has more than 200 keys; nothing here needs as many",
	} {
		_, err := load(t, map[string]string{"agent.yml": text})
		wantError(t, err, "agent.yml:"+want)
	}
}

// stairs are maps, each in the one before.
func stairs(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}

// What people and programs do write is taken.
func TestTakenYAML(t *testing.T) {
	for text, want := range map[string]string{
		"\ufeffnode: x\r\nprefix: y\r\n":         "x",
		"# by a program\n---\nnode: x\n...\n":    "x",
		"---\n# more\nnode: x\t# a\tcomment\t\n": "x",
		"{\"node\": \"x\"}":                      "x",
		"node:\n  x":                             "x",
		"node: 'it''s'":                          "it's",
		"node: x # 'y'\n\n\n":                    "x",
		"node: >-\n  x\n":                        "x",
		"node: |- # why\n  # x\n":                "# x",
		"node: \"a \\\n  b\"":                    "a b",
		"node: 'a\n  b'":                         "a b",
		"node: 'a\n  ''''b c'":                   "a ''b c",
		"node: 'a\n  '''":                        "a '",
		"node: a\n  b\nprefix: c":                "a b",
		"node: a#b":                              "a#b",
		"vars: {" + strings.TrimSuffix(strings.Repeat("a: b, ", 1), ", ") + "}\nnode: x": "x",
	} {
		c, err := load(t, map[string]string{"agent.yml": text})
		if err != nil || c.Node != want {
			t.Errorf("%q: the node is %q, want %q; %v", text, c.Node, want, err)
		}
	}
}

// However a file of a MiB is made, it is refused or read with bounded memory. Without
// the guards these take minutes and tens of GB, or overflow the stack.
func TestHostile(t *testing.T) {
	fill := func(s string) string { return strings.Repeat(s, (maxFile-1000)/len(s)) }
	count := func(n int, format string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format, i)
		}
		return b.String()
	}
	line := func(s string) string { return strings.Repeat(s, 4000/len(s)) + "\n" }
	for name, text := range map[string]string{
		"100,000 brackets":     strings.Repeat("[", 100_000),
		"brackets":             fill("["),
		"lines of brackets":    fill("[\n"),
		"braces":               fill("{a: "),
		"lines of braces":      fill("{a:\n"),
		"dashes":               fill("- "),
		"lines of dashes":      fill(line("- ")),
		"keys":                 count(100_000, "k%d: v\n"),
		"most keys":            strings.Repeat("-\n"+count(199, "  k%d: v\n"), 80),
		"most keys of nothing": strings.Repeat("-\n"+count(199, "  k%d:\n"), 110),
		"most items":           "targets: [" + strings.Repeat("a,\n", 24_000) + "]",
		"most long keys":       strings.Repeat("-\n"+count(199, "  "+strings.Repeat("k", 50)+"%d: v\n"), 80),
		"long paths":           strings.Repeat("k", 60) + ":\n " + strings.Repeat("l", 60) + ": [" + strings.Repeat("a,\n", 24_000) + "]",
		"angles":               fill("x" + line("<")),
		"tabs in quotes":       "a: \"" + fill(line("\t#")) + "\"",
		"blank lines":          "a: |\n" + fill("\n"),
		"some blank lines":     fill("- |\n  a" + strings.Repeat("\n", 99))[:maxFile/4],
		"a long text":          "a: |\n" + fill("  words and words and words and words\n")[:maxFile/4] + strings.Repeat("\n", 90),
		"spaces":               fill(line(" ")),
		"documents":            fill("---\n"),
		"aliases":              "a: &a x\n" + fill("b: *a\n"),
		"comments":             fill("#\n"),
		"questions":            fill("? "),
		"quotes":               fill("'a'\n"),
		"zeros":                fill("\x00"),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := load(t, map[string]string{"agent.yml": text})
		runtime.ReadMemStats(&after)
		if mb := (after.TotalAlloc - before.TotalAlloc) >> 20; mb > 300 || err == nil {
			t.Errorf("%s: %d MB, error %v", name, mb, err)
		}
	}
}
