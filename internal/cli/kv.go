package cli

import "github.com/spf13/cobra"

// flagsWhole are the general flags of commands for the whole store, which have no prefix of keys.
const flagsWhole = "config server token token-file datacenter retry-for"

func (a *App) newKV(g *globals) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "kv COMMAND",
		Short: "Export and import keys in Consul's JSON format",
		Long: `Export and import keys in Consul's JSON format. "consul kv import" reads the exports,
and "kv import" reads those of "consul kv export".`,
		Example: `  kvexpress kv export >all.json
  kvexpress kv import all.json -s consul.example:8500`,
		Args: unknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },

		SuggestionsMinimumDistance: 2,
	}
	cmd.AddCommand(a.newKVExport(g), a.newKVImport(g))
	return cmd
}
