package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/andybalholm/brotli"
	"github.com/rogpeppe/go-internal/testscript"

	"kvexpress/internal/atomicfile"
)

type scriptCommand = func(ts *testscript.TestScript, neg bool, args []string)

// scriptCommands are the commands that our scripts have beside testscript's.
func scriptCommands() map[string]scriptCommand {
	return map[string]scriptCommand{
		"exits":     cmdExits,
		"ended":     cmdEnded,
		"complains": cmdComplains,
		"json":      cmdJSON,
		"mode":      cmdMode,
		"owner":     cmdOwner,
		"only":      cmdOnly,
		"random":    cmdRandom,
		"bomb":      cmdBomb,
		"kv":        cmdKV,
		"lockrow":   cmdLockRow,
		"newtoken":  cmdNewToken,
		"serve":     cmdServe,
		"babbler":   cmdBabbler,
		"statsd":    cmdStatsd,
		"agentfile": cmdAgentFile,
		"await":     cmdAwait,
		"waitfor":   cmdWaitFor,
	}
}

func usageError(ts *testscript.TestScript, wrong bool, usage string) {
	if wrong {
		ts.Fatalf("usage: %s", usage)
	}
}

// exits [-notes] [-log] CODE kvexpress ARG... runs kvexpress and wants that exit code. It also checks
// the rules of all commands: no token shows, every line is printable, every line of stderr has our
// prefix, and a failure is exactly one line. -notes allows lines before it; -log allows a log.
func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	notes := len(args) > 0 && args[0] == "-notes"
	if notes {
		args = args[1:]
	}
	logs := len(args) > 0 && args[0] == "-log"
	if logs {
		args = args[1:]
	}
	usageError(ts, neg || len(args) < 2 || args[1] != "kvexpress", "exits [-notes] [-log] CODE kvexpress ARG...")
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	code := exitCodeOf(ts, ts.Exec("kvexpress", args[2:]...))
	if code != want {
		ts.Fatalf("exit code %d, want %d", code, want)
	}
	stdout, stderr := ts.ReadFile("stdout"), ts.ReadFile("stderr")
	checkJSON(ts, args[2:], stdout)
	for _, name := range []string{"CONSUL_HTTP_TOKEN", "KVEXPRESS_TEST_TOKEN", "SECRET", "OTHER_SECRET"} {
		if secret := ts.Getenv(name); secret != "" && strings.Contains(stdout+stderr, secret) {
			ts.Fatalf("$%s shows in the output", name)
		}
	}
	unclean := func(r rune) bool { return !unicode.IsPrint(r) && r != '\n' && r != '\t' }
	if i := strings.IndexFunc(stdout+stderr, unclean); i >= 0 {
		ts.Fatalf("the output has an unprintable character: %q", (stdout + stderr)[i:min(i+20, len(stdout+stderr))])
	}
	lines := slices.Collect(strings.Lines(stderr))
	if logs {
		record := regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]+Z: (agent|hub): .+\n$`)
		lines = slices.DeleteFunc(lines, record.MatchString)
	}
	lines = slices.DeleteFunc(lines, printedByCommand)
	for _, line := range lines {
		if !strings.HasPrefix(line, "kvexpress: ") || !strings.HasSuffix(line, "\n") {
			ts.Fatalf("this line on stderr is not one of ours: %q", line)
		}
	}
	if code != 0 && (len(lines) == 0 || len(lines) > 1 && !notes) {
		ts.Fatalf("%d lines on stderr, want 1", len(lines))
	}
	seen, _ := ts.Value(seenKey{}).(*sightings)
	seen.ended(ts.Name(), ending{commandOf(args[2:]), code})
}

// ended COMMAND notes that a command that was run in the background, and that wait has just waited for, has ended
// with 0: with anything else, wait would have failed.
func cmdEnded(ts *testscript.TestScript, neg bool, args []string) {
	usageError(ts, neg || len(args) != 1, "ended COMMAND")
	seen, _ := ts.Value(seenKey{}).(*sightings)
	seen.ended(ts.Name(), ending{args[0], 0})
}

func exitCodeOf(ts *testscript.TestScript, err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	ts.Check(err)
	return 0
}

// commandOf is the name of the command that a command line means.
func commandOf(args []string) string {
	root := (&App{}).newRoot()
	cmd, _, err := root.Find(oldSpellings(root, args))
	if err != nil {
		return root.Name()
	}
	return strings.TrimPrefix(cmd.CommandPath(), root.Name()+" ")
}

// printedByCommand reports whether a line on stderr shows the output of a check or an exec.
func printedByCommand(line string) bool { return strings.HasPrefix(line, "    ") }

// complains PATTERN... wants the last line of ours on stderr to match each pattern.
func cmdComplains(ts *testscript.TestScript, neg bool, args []string) {
	usageError(ts, neg || len(args) == 0, "complains PATTERN...")
	lines := slices.DeleteFunc(slices.Collect(strings.Lines(ts.ReadFile("stderr"))), printedByCommand)
	if len(lines) == 0 {
		ts.Fatalf("nothing is on stderr")
	}
	last := strings.TrimSuffix(lines[len(lines)-1], "\n")
	for _, pattern := range args {
		re, err := regexp.Compile(pattern)
		ts.Check(err)
		if !re.MatchString(last) {
			ts.Fatalf("%q does not match %q", last, pattern)
		}
	}
}

// [!] json FIELD [PATTERN] wants stdout to be one JSON object that has the field,
// such as exec.exit_code, and its value to match all of the pattern.
func cmdJSON(ts *testscript.TestScript, neg bool, args []string) {
	usageError(ts, len(args) < 1 || len(args) > 2 || neg && len(args) > 1, "[!] json FIELD [PATTERN]")
	var value any
	if err := json.Unmarshal([]byte(ts.ReadFile("stdout")), &value); err != nil {
		ts.Fatalf("stdout is not one JSON value: %v", err)
	}
	found := true
	for part := range strings.SplitSeq(args[0], ".") {
		if value, found = member(value, part); !found {
			break
		}
	}
	if found == neg {
		ts.Fatalf("the field %s is there: %t", args[0], found)
	}
	if len(args) == 1 {
		return
	}
	re, err := regexp.Compile("^(?s:" + args[1] + ")$")
	ts.Check(err)
	text, ok := value.(string)
	if !ok {
		raw, err := json.Marshal(value)
		ts.Check(err)
		text = string(raw)
	}
	if !re.MatchString(text) {
		ts.Fatalf("%s is %q, which does not match %q", args[0], text, args[1])
	}
}

// member is a field of an object, or an element of a list, by its number.
func member(value any, name string) (any, bool) {
	switch v := value.(type) {
	case map[string]any:
		value, found := v[name]
		return value, found
	case []any:
		if i, err := strconv.Atoi(name); err == nil && i >= 0 && i < len(v) {
			return v[i], true
		}
	}
	return nil, false
}

// mode OCTAL FILE wants a file to have that mode.
func cmdMode(ts *testscript.TestScript, neg bool, args []string) {
	usageError(ts, neg || len(args) != 2, "mode OCTAL FILE")
	want, err := strconv.ParseUint(args[0], 8, 32)
	ts.Check(err)
	info, err := os.Stat(ts.MkAbs(args[1]))
	ts.Check(err)
	if got := info.Mode().Perm(); got != fs.FileMode(want) {
		ts.Fatalf("%s has mode %04o, want %04o", args[1], got, want)
	}
}

// owner UID:GID FILE wants a file to belong to them.
func cmdOwner(ts *testscript.TestScript, neg bool, args []string) {
	usageError(ts, neg || len(args) != 2, "owner UID:GID FILE")
	info, err := os.Stat(ts.MkAbs(args[1]))
	ts.Check(err)
	uid, gid := atomicfile.Owner(info)
	if got := fmt.Sprintf("%d:%d", uid, gid); got != args[0] {
		ts.Fatalf("%s belongs to %s, want %s", args[1], got, args[0])
	}
}

// only FOLDER NAME... wants a folder to hold these and nothing else, whatever
// their order.
func cmdOnly(ts *testscript.TestScript, neg bool, args []string) {
	usageError(ts, neg || len(args) < 1, "only FOLDER NAME...")
	entries, err := os.ReadDir(ts.MkAbs(args[0]))
	ts.Check(err)
	var got []string
	for _, entry := range entries {
		got = append(got, entry.Name())
	}
	want := slices.Sorted(slices.Values(args[1:]))
	if !slices.Equal(got, want) {
		ts.Fatalf("%s holds %v, want %v", args[0], got, want)
	}
}

// random FILE SIZE makes a file of bytes that do not compress.
func cmdRandom(ts *testscript.TestScript, neg bool, args []string) {
	writeSized(ts, neg, args, "random", func(w io.Writer, size int64) error {
		_, err := io.CopyN(w, rand.NewChaCha8([32]byte{}), size)
		return err
	})
}

// bomb FILE SIZE makes a small file that brotli makes so many bytes of.
func cmdBomb(ts *testscript.TestScript, neg bool, args []string) {
	writeSized(ts, neg, args, "bomb", func(w io.Writer, size int64) error {
		packed := brotli.NewWriterLevel(w, brotli.BestSpeed)
		block := bytes.Repeat([]byte("\n"), 1<<16)
		for ; size > 0; size -= int64(len(block)) {
			if _, err := packed.Write(block[:min(size, int64(len(block)))]); err != nil {
				return err
			}
		}
		return packed.Close()
	})
}

func writeSized(ts *testscript.TestScript, neg bool, args []string, name string, write func(io.Writer, int64) error) {
	usageError(ts, neg || len(args) != 2, name+" FILE SIZE")
	size, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	f, err := os.Create(ts.MkAbs(args[0]))
	ts.Check(err)
	ts.Check(write(f, size))
	ts.Check(f.Close())
}
