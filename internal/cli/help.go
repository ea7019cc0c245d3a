package cli

import (
	_ "embed" // of help.txt
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

//go:embed help.txt
var helpText string

// described makes a command with its help. The name is as typed after kvexpress, and the general flags are those that it uses.
func described(name, general string) *cobra.Command {
	_, text, _ := strings.Cut(helpText, "\n# "+name+":")
	text, _, _ = strings.Cut(text, "\n\n# ")
	arguments, text, _ := strings.Cut(strings.TrimSuffix(text, "\n"), "\n")
	text, example, _ := strings.Cut(text, "\n\nExamples:\n")
	short, long, _ := strings.Cut(text, "\n\n")
	return &cobra.Command{
		Use: name[strings.LastIndex(name, " ")+1:] + arguments, Short: short, Long: long,
		Example: example, Annotations: map[string]string{globalsLabel: general},
	}
}

func newHelp() *cobra.Command {
	help := described("help", "")
	help.GroupID = "More"
	help.RunE = func(cmd *cobra.Command, args []string) error {
		about, rest, err := cmd.Root().Find(args)
		if err != nil {
			return err
		}
		if len(rest) > 0 {
			return unknownCommand(cmd.Root(), rest)
		}
		return about.Help()
	}
	return help
}

// usage prints a command's own flags and the global flags that it uses. Every command accepts all global flags, as in 1.x.
func usage(cmd *cobra.Command) error {
	cmd.InitDefaultHelpFlag()
	cmd.Flags().VisitAll(unwrap) // pflag shows defaults by type
	cmd.Flags().Lookup("help").Usage = "show this help"
	w := cmd.OutOrStderr()
	fmt.Fprintf(w, "Usage:\n  %s\n", cmd.UseLine())
	if cmd.Example != "" {
		fmt.Fprintf(w, "\nExamples:\n%s\n", cmd.Example)
	}
	groups := cmd.Groups()
	if cmd.HasAvailableSubCommands() && len(groups) == 0 {
		groups = []*cobra.Group{{Title: "Commands"}}
	}
	for _, group := range groups {
		fmt.Fprintf(w, "\n%s:\n", group.Title)
		for _, sub := range cmd.Commands() {
			if sub.GroupID == group.ID {
				fmt.Fprintf(w, "  %-12s %s\n", sub.Name(), sub.Short)
			}
		}
	}
	if own := cmd.LocalNonPersistentFlags(); own.HasAvailableFlags() {
		fmt.Fprintf(w, "\nFlags:\n%s", own.FlagUsages())
	}
	if names := cmd.Annotations[globalsLabel]; names != "" {
		fmt.Fprintf(w, "\nGeneral flags:\n%s", pick(cmd.Root().PersistentFlags(), names).FlagUsages())
	}
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(w, "\nUse \"%s COMMAND --help\" for more about a command.\n", cmd.CommandPath())
	}
	return nil
}

func pick(all *pflag.FlagSet, names string) *pflag.FlagSet {
	some := pflag.NewFlagSet("", pflag.ContinueOnError)
	for _, name := range strings.Fields(names) {
		if f := all.Lookup(name); f != nil {
			some.AddFlag(f)
		}
	}
	return some
}

// uses has the global flags that a command uses.
func uses(groups ...string) string { return strings.Join(groups, " ") }
