package install_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"

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
