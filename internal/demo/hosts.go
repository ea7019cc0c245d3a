package demo

import (
	"bytes"
	"fmt"
	"os"
)

// Hosts returns a hosts file with one line for each machine. Machines in moved have another address.
func Hosts(lines int, moved ...int) []byte {
	elsewhere := map[int]bool{}
	for _, i := range moved {
		elsewhere[i] = true
	}
	var b bytes.Buffer
	for i := 1; i <= lines; i++ {
		network := "10.1"
		if elsewhere[i] {
			network = "10.77"
		}
		fmt.Fprintf(&b, "%s.%d.%d web-%04d.example web-%04[4]d\n", network, i/250, i%250+1, i)
	}
	return b.Bytes()
}

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
