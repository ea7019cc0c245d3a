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

// Each step fails with an error: the result claims no more than happened, nothing
// is left behind, and the next delivery repairs the rest.
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
						t.Errorf("the error is lost: %q, %v", res.Action, err)
					}
					for _, b := range n.left() {
						if !slices.Contains(inherited, b) {
							t.Error(b)
						}
					}
					touched := !bytes.Equal(before, n.content())
					if claimed := res.Action == install.Installed; claimed != touched && s.name != "mend a torn overwrite" {
						t.Errorf("it says %q; touched: %v", res.Action, touched)
					}
					s.finish(n)
				})
			}
		})
	}
}

// If nothing was put in place, the result does not claim it.
func TestActionOfAFailure(t *testing.T) {
	for step, want := range map[install.FaultPoint]install.Action{
		atomicfile.AtWrite:   install.NoAction,
		atomicfile.AtRename:  install.NoAction,
		atomicfile.AtSyncDir: install.Installed,
		install.AtInstalled:  install.Installed,
		install.AtExecDone:   install.Installed,
	} {
		t.Run(string(step), func(t *testing.T) {
			n := scenarios()[0].start(t)
			res, err := n.deliver(func(s install.FaultPoint) error {
				if s == step {
					return errBoom
				}
				return nil
			})
			if err == nil || res.Action != want {
				t.Errorf("outcome %q, %v; want %q and an error", res.Action, err, want)
			}
			if filepath.Dir(res.Path) != n.dir {
				t.Errorf("path %q", res.Path)
			}
		})
	}
}
