// Command release makes the files of a release from the programs that make built. Each job is a file
// of its own. Nothing of it is linked into kvexpress.
package main

import (
	"flag"
	"fmt"
	"os"
)

const usage = `Usage: go run -C tools/release . [-root DIR] JOB

Jobs:
  packages   deb, rpm, apk and tar.gz for Linux, in .build/packages
`

func main() {
	flag.Usage = func() { fmt.Fprint(os.Stderr, usage) }
	root := flag.String("root", "../..", "")
	flag.Parse()
	jobs := map[string]func(root string) error{
		"packages": packages,
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
