package demo

import (
	"bytes"
	"fmt"
	"os"
)

// Verify reads the files, not the receipts: each node must have the content, its exec must have copied it, and the node's folder
// must hold nothing else.
func (f *Fleet) Verify(content []byte) error {
	for _, n := range f.Nodes {
		for _, file := range []struct{ what, path string }{{"its file", n.File}, {"the copy by its exec", n.Reloaded}} {
			got, err := os.ReadFile(file.path)
			if err != nil {
				return fmt.Errorf("%s: %s: %w", n.Name, file.what, err)
			}
			if !bytes.Equal(got, content) {
				return fmt.Errorf("%s: %s, %s, differs from the published content", n.Name, file.what, file.path)
			}
		}
		entries, err := os.ReadDir(n.dir)
		if err != nil {
			return fmt.Errorf("%s: %w", n.Name, err)
		}
		for _, e := range entries {
			switch e.Name() {
			case "hosts", "reloaded", "state":
			default:
				return fmt.Errorf("%s: %s is left in %s", n.Name, e.Name(), n.dir)
			}
		}
	}
	return nil
}
