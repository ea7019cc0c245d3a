package cli

import (
	"errors"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// dashes accepts 1.x's flag names with underscores, such as ignore_stop.
func dashes(_ *pflag.FlagSet, name string) pflag.NormalizedName {
	return pflag.NormalizedName(strings.ReplaceAll(name, "_", "-"))
}

// once is a flag that refuses a second value: with `stop -k a -k b`, one key would not be stopped.
type once struct {
	pflag.Value
	given bool
}

var errTwice = errors.New("given twice; give it once")

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

// countOnce wraps all flags of a command and of its subcommands in once, except lists.
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

// oldSpellings rewrites 1.x's switches with a separate value, such as `-z true`, to `-z=true`. 1.x ignored the value; here false
// means false. In "diff", which 1.x did not have, 0 and 1 after a switch are versions.
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
		if flag.NoOptDefVal == "" { // the next word is its value
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

// readFlag returns the flag that a word sets; for a cluster such as -dz, the last one. If given, the
// word has the value, too, as in --token=x and -tx. Else the next word may be the value.
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

// find searches all commands for a flag. Flags with the same name have the same type everywhere.
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
