package publish

import (
	"context"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"kvexpress/internal/cli"
	"kvexpress/internal/kv"
	"kvexpress/internal/publish"
	"kvexpress/test/e2e"
)

// A publisher is killed with SIGKILL before each of its requests. Nodes notice
// nothing, and the next publish succeeds.
func TestKilledPublisher(t *testing.T) {
	t.Parallel()
	const small, large = 2_000, kv.MaxStored // a large one's history goes ahead, in a transaction of its own
	s, _ := e2e.Start(t)
	for _, c := range []struct {
		name    string
		size    int
		managed uint64 // versions before
		steps   []publish.Point
	}{
		{"a new key", small, 0, []publish.Point{publish.AtRead, publish.AtNested, publish.AtHistoryList, publish.AtPromote}},
		{"a large new key", large, 0, []publish.Point{publish.AtHistoryWrite, publish.AtPromote}},
		{"the next version", small, 2, []publish.Point{publish.AtRead, publish.AtPromote}},
		{"a large next version", large, 2, []publish.Point{publish.AtRead, publish.AtHistoryWrite, publish.AtPromote}},
		{"a large version with history to prune", large, 12, []publish.Point{publish.AtHistoryWrite, publish.AtPromote}},
	} {
		for _, step := range c.steps {
			t.Run(c.name+", before "+string(step), func(t *testing.T) {
				s := s.On(t)
				m := e2e.NewMachine(t, s.Server.Addr)
				key := strings.ReplaceAll(fmt.Sprintf("%s-%s", c.name, step), " ", "-")
				key = strings.ReplaceAll(key, ",", "")
				killedPublisher(t, s, m, key, step, c.size, c.managed)
			})
		}
	}
}

func killedPublisher(t *testing.T, s *e2e.Store, m *e2e.Machine, key string, step publish.Point, size int, managed uint64) {
	content := func(version uint64) string { return e2e.Noise(size, version) }
	in := func(c string) { t.Helper(); m.Ok("in", "-k", key, "-f", m.File("source", c)) }
	for v := uint64(1); v <= managed; v++ {
		in(content(v))
	}
	visible := func() string {
		var b strings.Builder
		for _, row := range []string{"data", "checksum", "manifest", "stop"} {
			if r := s.Get("kvexpress/" + key + "/" + row); r != nil {
				fmt.Fprintf(&b, "%s %s %d\n", row, e2e.Sum(string(r.Value)), r.ModifyIndex)
			}
		}
		return b.String()
	}
	before := visible()
	lost := content(1000)
	m.File("source", lost)
	r := m.With(dieAtEnv+"="+string(step)).Exec(os.Args[0], []string{"in", "-k", key, "-f", m.Path("source")})
	if r.Code != -1 {
		t.Fatalf("the publisher was not killed before %q: exit %d\n%s%s", step, r.Code, r.Stdout, r.Stderr)
	}
	if after := visible(); after != before {
		t.Fatalf("the killed publisher left something to see. Before:\n%safter:\n%s", before, after)
	}

	// The next content takes the version, and its place in history.
	next := content(1001)
	in(next)
	check := func(version uint64, want string) {
		t.Helper()
		if now := s.Manifest("kvexpress/" + key + "/manifest"); now.Version != version || now.SHA256 != e2e.Sum(want) {
			t.Errorf("version %d with %s is live, want version %d with %s", now.Version, now.SHA256, version, e2e.Sum(want))
		}
		past := fmt.Sprintf("kvexpress/.history/%s/%d/", key, version)
		if s.Value(past+"manifest") != s.Value("kvexpress/"+key+"/manifest") {
			t.Errorf("the history of version %d is of another", version)
		}
		m.Ok("out", "-k", key, "-f", m.Path("hosts"))
		m.Holds("hosts", want)
	}
	check(managed+1, next)
	in(lost) // and the lost one, sent again, the one after that
	check(managed+2, lost)
}

func dieAt(step publish.Point) {
	app := cli.App{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv}
	app.PublishFault = func(s publish.Point) error {
		if s != step {
			return nil
		}
		if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
			return err
		}
		select {} // the signal is on its way
	}
	app.Run(context.Background(), os.Args[1:])
}

// dieAtEnv makes this test program a kvexpress that kills itself: before the
// named step of a publish it gets SIGKILL.
const dieAtEnv = "KVEXPRESS_E2E_DIE_AT"
