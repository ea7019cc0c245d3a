package install_test

import (
	"bytes"
	"errors"
	"path/filepath"
	"slices"
	"testing"

	"kvexpress/internal/atomicfile"
	"kvexpress/internal/install"
)

// Each step fails with an error: the caller hears of it and of no more than what
// happened, nothing is left, and the next delivery puts it right.
func TestFailedAtEachStep(t *testing.T) {
	t.Parallel()
	for _, s := range scenarios() {
		t.Run(s.name, func(t *testing.T) {
			for i, step := range s.start(t).steps() {
				t.Run(label(i, step), func(t *testing.T) {
					n := s.start(t)
					before, inherited := n.content(), n.left()
					res, err := n.deliver(failAt(i + 1))
					if !errors.Is(err, errBoom) {
						t.Errorf("the error is lost: %q, %v", res.Outcome, err)
					}
					for _, b := range n.left() {
						if !slices.Contains(inherited, b) {
							t.Error(b)
						}
					}
					touched := !bytes.Equal(before, n.content())
					if claimed := res.Outcome == install.Installed; claimed != touched && s.name != "mend a torn overwrite" {
						t.Errorf("it says %q; touched: %v", res.Outcome, touched)
					}
					s.finish(n)
				})
			}
		})
	}
}

// Where nothing was put in place nothing is said to be.
func TestOutcomeOfAFailure(t *testing.T) {
	for step, want := range map[install.Step]install.Outcome{
		install.Step(atomicfile.StepWrite):   install.None,
		install.Step(atomicfile.StepRename):  install.None,
		install.Step(atomicfile.StepSyncDir): install.Installed,
		install.StepInstalled:                install.Installed,
		install.StepExecDone:                 install.Installed,
	} {
		t.Run(string(step), func(t *testing.T) {
			n := scenarios()[0].start(t)
			res, err := n.deliver(func(s install.Step) error {
				if s == step {
					return errBoom
				}
				return nil
			})
			if err == nil || res.Outcome != want {
				t.Errorf("outcome %q, %v; want %q and an error", res.Outcome, err, want)
			}
			if filepath.Dir(res.Path) != n.dir {
				t.Errorf("path %q", res.Path)
			}
		})
	}
}
