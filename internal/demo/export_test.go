package demo

import "path/filepath"

// NodeIn is a node of a folder, for tests.
func NodeIn(dir string) Node { return newNode(filepath.Base(dir), dir) }
