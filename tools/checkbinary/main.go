// Command checkbinary fails unless an ELF binary runs on any Linux, without a
// loader or a library from the system, and is no larger than it may be.
package main

import (
	"debug/elf"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "checkbinary:", err)
		os.Exit(1)
	}
}

func run(args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("checkbinary", flag.ContinueOnError)
	most := flags.Int64("max", 0, "the most `bytes` that the binary may have")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() != 1 || *most <= 0 {
		return errors.New("usage: checkbinary -max BYTES FILE")
	}
	file := flags.Arg(0)
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	if info.Size() > *most {
		return fmt.Errorf("%s has %d bytes, at most %d are allowed", file, info.Size(), *most)
	}
	if err := static(file); err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "%s: static, %d bytes\n", file, info.Size())
	return err
}

func static(file string) (err error) {
	f, err := elf.Open(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return fmt.Errorf("%s is not static: it asks for a loader. Build it with CGO_ENABLED=0", file)
		}
	}
	libs, err := f.ImportedLibraries()
	if err == nil && len(libs) > 0 {
		err = fmt.Errorf("%s is not static: it needs %v", file, libs)
	}
	return err
}
