package cli

import (
	_ "embed" // of help.txt
	"strings"

	"github.com/spf13/cobra"
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
