//go:build linux

package lab_test

import (
	"context"
	"os"
	"testing"
	"time"

	"kvexpress/internal/lab"
)

// tools are the programs of all labs, or why there are none.
var tools struct {
	lab.Tools
	err error
}

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "kvexpress-lab-")
	if err == nil {
		defer os.RemoveAll(dir)
		tools.err = findTools(dir)
	} else {
		tools.err = err
	}
	m.Run() // its result is the exit code when TestMain returns
}

func findTools(dir string) error {
	root, err := lab.SourceRoot()
	if err != nil {
		return err
	}
	if tools.Tools, err = lab.FindTools(root); err != nil {
		return err
	}
	tools.Kvexpress, err = lab.Build(context.Background(), root, dir)
	return err
}

// start runs a lab whose nodes have the first version, and looks at it. It ends with
// the test.
func start(t *testing.T, o lab.Options) *lab.Scene {
	t.Helper()
	if tools.err != nil {
		t.Fatal(tools.err)
	}
	o.Tools, o.Dir = tools.Tools, t.TempDir()
	began := time.Now()
	o.Say = func(line string) { t.Logf("%6.2f s  %s", time.Since(began).Seconds(), line) }
	// Not the test's context: that ends before its clean-ups.
	ctx := context.WithoutCancel(t.Context())
	l, err := lab.New(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if left := l.Left(); len(left) > 0 {
			t.Errorf("the lab left processes: %v", left)
		}
	})
	s, err := l.Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	if err := l.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Settled(t.Context()); err != nil {
		t.Fatal(err)
	}
	o.Say("all nodes know all services")
	s.Ask(ctx)
	return s
}

// judge holds what all nodes answered against what was published: nothing wrong, and
// never back.
func judge(t *testing.T, s *lab.Scene) {
	t.Helper()
	for _, v := range s.Judge() {
		if v.Answers == 0 {
			t.Errorf("%s never answered", v.Node)
		}
		for _, f := range v.Faults {
			t.Errorf("%s: %s", v.Node, f.Why)
		}
	}
	if t.Failed() {
		for _, v := range s.Recorder.Versions() {
			t.Logf("version %d at %s by %s: %d names", v.Number, v.Published.Format("15:04:05.000"), v.By, len(v.Hosts))
		}
	}
}
