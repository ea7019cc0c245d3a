package cli

import "github.com/spf13/cobra"

func newHelp() *cobra.Command {
	return &cobra.Command{
		GroupID: "More",
		Use:     "help [COMMAND]",
		Short:   "Show the help of a command",
		Long:    `Show the help of a command, as --help does.`,
		Example: `  kvexpress help in`,
		RunE: func(cmd *cobra.Command, args []string) error {
			about, rest, err := cmd.Root().Find(args)
			if err != nil {
				return err
			}
			if len(rest) > 0 {
				return unknownCommand(cmd.Root(), rest)
			}
			return about.Help()
		},
	}
}
