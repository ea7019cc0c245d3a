package demo

import (
	"bytes"
	"fmt"
	"os"
)

// Verify looks at the files themselves, whatever receipts say: each node must have these
// bytes, its reload must have seen them, and nothing else may be left in its folder.
func (f *Fleet) Verify(content []byte) error {
	for _, n := range f.Nodes {
		for _, file := range []struct{ what, path string }{{"its file", n.File}, {"what its reload has read", n.Reloaded}} {
			got, err := os.ReadFile(file.path)
			if err != nil {
				return fmt.Errorf("%s: %s: %w", n.Name, file.what, err)
			}
			if !bytes.Equal(got, content) {
				return fmt.Errorf("%s: %s, %s, is not what was published", n.Name, file.what, file.path)
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
