// Command release makes the files of a release from the programs that make built. Each job is a file
// of its own. Nothing of it is linked into kvexpress.
package main

import (
	"flag"
	"fmt"
	"os"
)

const usage = `Usage: go run -C tools/release . [-root DIR] [-key FILE] JOB

Jobs:
  packages   deb, rpm, apk and tar.gz for Linux, in .build/packages
  release    all files of a release, verified, in .build/release
`

func main() {
	flag.Usage = func() { fmt.Fprint(os.Stderr, usage) }
	root := flag.String("root", "../..", "")
	key := flag.String("key", "", "")
	flag.Parse()
	jobs := map[string]func(root string) error{
		"packages": packages,
		"release":  func(root string) error { return release(root, *key) },
	}
	job := jobs[flag.Arg(0)]
	if job == nil || flag.NArg() > 1 {
		flag.Usage()
		os.Exit(2)
	}
	if err := job(*root); err != nil {
		fmt.Fprintf(os.Stderr, "release %s: %v\n", flag.Arg(0), err)
		os.Exit(1)
	}
}
