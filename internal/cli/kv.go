package cli

import "github.com/spf13/cobra"

// flagsWhole are the general flags of what works on the whole store: there is no prefix
// of all keys.
const flagsWhole = "config server token token-file datacenter retry-for"

func (a *App) newKV(g *globals) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "kv COMMAND",
		Short: "Export and import keys in Consul's JSON format",
		Long: `Take keys out of a store and into another, in the format of "consul kv export" and
"consul kv import": what one of them writes, the other reads.`,
		Example: `  kvexpress kv export >all.json
  kvexpress kv import all.json -s consul.example:8500`,
		Args: unknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },

		SuggestionsMinimumDistance: 2,
	}
	cmd.AddCommand(a.newKVExport(g), a.newKVImport(g))
	return cmd
}
