//go:build linux

package play_test

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kvexpress/internal/lab"
	"kvexpress/internal/lab/play"
)

// A small run from its beginning to its end: what it tells, what it draws, and that
// nothing is left.
func TestRun(t *testing.T) {
	t.Parallel()
	picture := filepath.Join(t.TempDir(), "hosts.svg")
	said := run(t, 0, "--nodes", "4", "--services", "40", "--changes", "6", "--slow", "node-03", "--svg", picture)
	for _, part := range []string{
		"starting 3 Consul servers on 127.",
		"all 4 nodes know all 40 services; server-",
		"web-01 is taken out of the catalog: rendered after ",
		"node-03 is overloaded from here on",
		"node-03 is well again",
		"web-03 comes into the catalog: ",
		"was wrong or went back, over 7 versions",
		"6 changes, 4 nodes, ms",
		"ending all programs",
	} {
		if !strings.Contains(said, part) {
			t.Errorf("it does not say %q", part)
		}
	}
	svg, err := os.ReadFile(picture)
	if err != nil {
		t.Fatal(err)
	}
	for d := xml.NewDecoder(bytes.NewReader(svg)); err == nil; {
		_, err = d.Token()
	}
	if !errors.Is(err, io.EOF) {
		t.Errorf("the picture is no XML: %v", err)
	}
	if !bytes.Contains(svg, []byte("node-03 is overloaded")) {
		t.Error("the picture does not tell when a node was overloaded")
	}
	if t.Failed() {
		t.Log(said)
	}
}

// Nobody is said to be overloaded when no change is made meanwhile.
func TestOneChange(t *testing.T) {
	t.Parallel()
	if said := run(t, 0, "--nodes", "1", "--services", "40", "--changes", "1", "--slow", "node-01"); strings.Contains(said, "overloaded") {
		t.Error(said)
	}
}

// As JSON it is a value, and nothing else.
func TestRunAsJSON(t *testing.T) {
	t.Parallel()
	said := run(t, 0, "--nodes", "2", "--services", "40", "--changes", "2", "--slow", "", "--json")
	var got struct {
		Changes           []lab.Change `json:"changes"`
		Answers, Versions int
	}
	if err := json.Unmarshal([]byte(said), &got); err != nil {
		t.Fatalf("%v in %s", err, said)
	}
	if got.Versions != 3 || got.Answers == 0 || len(got.Changes) != 2 {
		t.Fatalf("it is %+v", got)
	}
	for _, c := range got.Changes {
		if c.Rendered <= 0 || c.Published <= 0 || len(c.Nodes) != 2 {
			t.Errorf("a change is %+v", c)
		}
		for _, n := range c.Nodes {
			// A file is in place after the change, and is answered from after that.
			if n.File <= 0 || n.Answer <= 0 {
				t.Errorf("%s has it after %v, and answers after %v", n.Node, n.File, n.Answer)
			}
		}
	}
}

func TestWrongArguments(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"--nodes", "0"}, "--nodes must be 1 or more"},
		{[]string{"--nodes", "241"}, "1 to 240 nodes"},
		{[]string{"scale", "--nodes", "0"}, "must be 1 or more"},
		{[]string{"scale", "--nodes", "9000"}, "fit"},
		{[]string{"--servers", "11"}, "1 to 10 servers"},
		{[]string{"--services", "5"}, "40 to 250 services"},
		{[]string{"--changes", "0"}, "must be 1 or more"},
		{[]string{"--slow", "node-99"}, "there is no such node; they are node-01 to node-10"},
		{[]string{"--json", "--keep"}, "[json keep]"},
		{[]string{"nonsense"}, "nonsense"},
		{[]string{"--nonsense"}, "--nonsense"},
		{[]string{"--svg", "/nonexistent/hosts.svg", "--changes", "1"}, "/nonexistent"},
	} {
		if said := run(t, 1, tt.args...); !strings.Contains(said, tt.want) {
			t.Errorf("%v: it says %q, want %q", tt.args, said, tt.want)
		}
	}
}

// An interruption does not hide what has failed, and is told alone when nothing has.
func TestInterruptedAndFailed(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tt := range []struct {
		args  string
		lines int
		want  string
	}{
		{"--nodes=0", 2, "--nodes must be 1 or more"},
		{"--nodes=1", 1, "interrupted"},
	} {
		var said bytes.Buffer
		if got := play.Run(ctx, []string{tt.args}, io.Discard, &said); got != 1 || !strings.Contains(said.String(), tt.want) || strings.Count(said.String(), "\n") != tt.lines {
			t.Errorf("%s ends with %d and says %q, want %q", tt.args, got, said.String(), tt.want)
		}
	}
}

// run is the program in this process. What it says on both streams is returned, and it
// must leave nothing.
func run(t *testing.T, want int, args ...string) string {
	t.Helper()
	var said bytes.Buffer
	if got := play.Run(t.Context(), args, &said, &said); got != want {
		t.Errorf("%v ends with %d, want %d: %s", args, got, want, said.String())
	}
	return said.String()
}
