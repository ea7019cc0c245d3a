package cli

import "github.com/spf13/cobra"

// flagsWhole are the general flags of commands for the whole store, which have no prefix of keys.
const flagsWhole = "config server token token-file datacenter retry-for"

func (a *App) newKV(g *globals) *cobra.Command {
	cmd := described("kv", "")
	cmd.Args, cmd.SuggestionsMinimumDistance = unknownCommand, 2
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	cmd.AddCommand(a.newKVExport(g), a.newKVImport(g))
	return cmd
}
