package cli

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// oldSpellings finds a flag by its name in any command, so flags of one name must have one type. The
// exception is harmless: a word joined to the --version of show is its value in any case.
func TestFlagsOfOneNameAreOfOneKind(t *testing.T) {
	root := (&App{}).newRoot()
	kinds := map[string]string{}
	see := func(f *pflag.Flag) {
		for _, name := range []string{"--" + f.Name, "-" + f.Shorthand} {
			kind, seen := kinds[name]
			if seen && name != "-" && name != "--version" && kind != f.Value.Type() {
				t.Errorf("%s is a %s in one command and a %s in another", name, kind, f.Value.Type())
			}
			kinds[name] = f.Value.Type()
		}
	}
	root.PersistentFlags().VisitAll(see)
	for _, cmd := range root.Commands() {
		cmd.Flags().VisitAll(see)
	}
	if kinds["-z"] != "bool" || kinds["--key"] != "string" {
		t.Errorf("the flags were not visited: %v", kinds)
	}
}

// For any words: none is dropped, and the only change joins a truth value to the switch before it.
func FuzzOldSpellings(f *testing.F) {
	for _, seed := range []string{
		"in\x00-z\x00true", "in\x00--sorted\x00false\x00-k\x00x", "-dz\x00T", "--\x00-z\x001", "-\x00--\x00---\x00--=\x00-=",
		"in\x00-k\x00-z\x00true", "out\x00--ignore_stop\x00true", "--_=_", "__", "--__\x00f", "-\xff\x00true", "--\xff=\x00f",
		"-z=\x00true", "",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		args := strings.Split(line, "\x00") // the byte that no argument can have
		was := slices.Clone(args)
		root := (&App{}).newRoot(args...)
		got := oldSpellings(root, args)
		if !slices.Equal(args, was) {
			t.Fatalf("%q was changed to %q", was, args)
		}
		rest := args
		for _, word := range got {
			switch {
			case len(rest) > 0 && word == rest[0]:
				rest = rest[1:]
			case len(rest) > 1 && word == rest[0]+"="+rest[1] && isSwitch(root, rest[0]) && isTruth(rest[1]):
				rest = rest[2:]
			default:
				t.Fatalf("%q becomes %q: %q comes from nowhere, or %q is lost", args, got, word, rest)
			}
		}
		if len(rest) > 0 {
			t.Fatalf("%q becomes %q: %q is lost", args, got, rest)
		}
	})
}

func isTruth(word string) bool {
	_, err := strconv.ParseBool(word)
	return err == nil
}

// isSwitch is independent of the code under test.
func isSwitch(root *cobra.Command, word string) bool {
	name, long := strings.CutPrefix(word, "--")
	for _, cmd := range append(root.Commands(), root) {
		for _, flags := range []*pflag.FlagSet{cmd.Flags(), cmd.PersistentFlags()} {
			f := flags.Lookup(name)
			if !long {
				f = flags.ShorthandLookup(word[len(word)-1:])
			}
			if f != nil && f.Value.Type() == "bool" {
				return true
			}
		}
	}
	return false
}
