package cli

import (
	"errors"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// dashes makes the underscores of an old flag's name, such as ignore_stop, dashes.
func dashes(_ *pflag.FlagSet, name string) pflag.NormalizedName {
	return pflag.NormalizedName(strings.ReplaceAll(name, "_", "-"))
}

// once is a flag that takes one value. It refuses a second one, in any spelling.
type once struct {
	pflag.Value
	given bool
}

var errTwice = errors.New("it is given twice, and one value counts; give it once")

func (o *once) Set(s string) error {
	was := o.String()
	if err := o.Value.Set(s); err != nil {
		return err
	}
	if o.given && (o.Type() != "bool" || o.String() != was) {
		return errTwice
	}
	o.given = true
	return nil
}

// countOnce makes all flags of a command, and of those below it, refuse a second value, except lists.
func countOnce(cmd *cobra.Command) {
	wrap := func(f *pflag.Flag) {
		if _, list := f.Value.(*listValue); !list {
			f.Value = &once{Value: f.Value}
		}
	}
	cmd.PersistentFlags().VisitAll(wrap)
	cmd.Flags().VisitAll(wrap)
	for _, sub := range cmd.Commands() {
		countOnce(sub)
	}
}

func unwrap(f *pflag.Flag) {
	if o, ok := f.Value.(*once); ok {
		f.Value = o.Value
	}
}

// oldSpellings rewrites what old callers write and today's flags do not take: a
// switch with its value behind a blank, such as `-z true` or `--sorted true`,
// becomes `-z=true`. 1.x took the switch and dropped the word, whatever it was;
// here false means false. All old spellings live in this file.
//
// 0 and 1 behind a switch of "diff", which 1.x did not have, are versions.
func oldSpellings(root *cobra.Command, args []string) []string {
	out := make([]string, 0, len(args))
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			return append(out, args[i:]...)
		}
		flag, _, given := readFlag(root, arg)
		if flag == nil || given || i+1 == len(args) {
			out = append(out, arg)
			continue
		}
		next := args[i+1]
		if flag.NoOptDefVal == "" { // it takes the next word, whatever that is
			out = append(out, arg, next)
			i++
			continue
		}
		number := (next == "0" || next == "1") && commandIs(root, args, commandDiff)
		if _, err := strconv.ParseBool(next); err == nil && flag.Value.Type() == "bool" && !number {
			arg += "=" + next
			i++
		}
		out = append(out, arg)
	}
	return out
}

// readFlag tells which flag a word sets: of a cluster such as -dz, the last one.
// given says that the word holds the value too, as in --token=x and -tx; else a
// value may be in the next word.
func readFlag(root *cobra.Command, word string) (flag *pflag.Flag, value string, given bool) {
	if name, ok := strings.CutPrefix(word, "--"); ok {
		name, value, given = strings.Cut(name, "=")
		flag = find(root, func(f *pflag.FlagSet) *pflag.Flag { return f.Lookup(name) })
		return flag, value, given
	}
	letters, ok := strings.CutPrefix(word, "-")
	for ok && letters != "" {
		letter, rest := letters[:1], letters[1:]
		flag = find(root, func(f *pflag.FlagSet) *pflag.Flag { return f.ShorthandLookup(letter) })
		switch {
		case flag == nil:
			return nil, "", false
		case strings.HasPrefix(rest, "="):
			return flag, rest[1:], true
		case flag.NoOptDefVal == "":
			return flag, rest, rest != ""
		}
		letters = rest
	}
	return flag, "", false
}

// find looks a flag up in all commands: a flag of the same name is of the same
// kind everywhere.
func find(root *cobra.Command, lookup func(*pflag.FlagSet) *pflag.Flag) *pflag.Flag {
	if f := lookup(root.PersistentFlags()); f != nil {
		return f
	}
	for _, cmd := range root.Commands() {
		if f := lookup(cmd.Flags()); f != nil {
			return f
		}
	}
	return nil
}

// commandIs reports whether a command line means this command.
func commandIs(root *cobra.Command, args []string, name string) bool {
	cmd, _, err := root.Find(args)
	return err == nil && cmd.Name() == name
}
