package cli

import (
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// dashes makes the underscores of old flags, such as --ignore_stop, and dashes
// the same.
func dashes(_ *pflag.FlagSet, name string) pflag.NormalizedName {
	return pflag.NormalizedName(strings.ReplaceAll(name, "_", "-"))
}

// oldSpellings rewrites what old callers write and today's flags do not take: a
// switch with its value behind a blank, such as `-z true` or `--sorted true`,
// becomes `-z=true`. 1.x took the switch and dropped the word, whatever it was;
// here false means false. All old spellings live in this file.
func oldSpellings(root *cobra.Command, args []string) []string {
	out := make([]string, 0, len(args))
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			return append(out, args[i:]...)
		}
		flag := opens(root, arg)
		if flag == nil || i+1 == len(args) {
			out = append(out, arg)
			continue
		}
		next := args[i+1]
		if flag.NoOptDefVal == "" { // it takes the next word, whatever that is
			out = append(out, arg, next)
			i++
			continue
		}
		if _, err := strconv.ParseBool(next); err == nil && flag.Value.Type() == "bool" {
			arg += "=" + next
			i++
		}
		out = append(out, arg)
	}
	return out
}

// opens returns the flag that the word leaves open for a value in the next word:
// a flag without "=value", the last one in a cluster such as -dz.
func opens(root *cobra.Command, arg string) *pflag.Flag {
	if name, ok := strings.CutPrefix(arg, "--"); ok {
		if strings.Contains(name, "=") {
			return nil
		}
		return find(root, func(f *pflag.FlagSet) *pflag.Flag { return f.Lookup(name) })
	}
	letters, ok := strings.CutPrefix(arg, "-")
	if !ok || letters == "" {
		return nil
	}
	for i := range len(letters) {
		letter := letters[i : i+1]
		flag := find(root, func(f *pflag.FlagSet) *pflag.Flag { return f.ShorthandLookup(letter) })
		if flag == nil || i == len(letters)-1 {
			return flag
		}
		if flag.NoOptDefVal == "" || letters[i+1] == '=' {
			return nil // the rest of the word is its value
		}
	}
	return nil
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
