package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"kvexpress/internal/kv"
)

func (a *App) newCompletion(*globals) *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish|powershell",
		Short: "Print a script that completes commands and flags",
		Long:  `Print a shell script that completes commands and flags with TAB.`,
		Example: `  source <(kvexpress completion bash)
  kvexpress completion bash > /etc/bash_completion.d/kvexpress
  kvexpress completion zsh > "${fpath[1]}/_kvexpress"
  kvexpress completion fish > ~/.config/fish/completions/kvexpress.fish`,
		Args:      oneShell,
		ValidArgs: []string{"bash", "zsh", "fish", "powershell"},
		RunE: func(cmd *cobra.Command, args []string) error {
			root, w := cmd.Root(), cmd.OutOrStdout()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(w, true)
			case "zsh":
				return root.GenZshCompletion(w)
			case "fish":
				return root.GenFishCompletion(w, true)
			}
			return root.GenPowerShellCompletionWithDesc(w)
		},
	}
}

func oneShell(cmd *cobra.Command, args []string) error {
	const shells = "name one: bash, zsh, fish or powershell"
	switch {
	case len(args) != 1:
		return fmt.Errorf("%s", shells)
	case cobra.OnlyValidArgs(cmd, args) != nil:
		return fmt.Errorf("unknown shell %s; %s", kv.Quote(args[0]), shells)
	}
	return nil
}
