package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"kvexpress/internal/kv"
)

func (a *App) newCompletion(*globals) *cobra.Command {
	cmd := described("completion", "")
	cmd.Args, cmd.ValidArgs = oneShell, []string{"bash", "zsh", "fish"}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		root, w := cmd.Root(), cmd.OutOrStdout()
		switch args[0] {
		case "bash":
			return root.GenBashCompletionV2(w, true)
		case "zsh":
			return root.GenZshCompletion(w)
		}
		return root.GenFishCompletion(w, true)
	}
	return cmd
}

func oneShell(cmd *cobra.Command, args []string) error {
	const shells = "name one: bash, zsh or fish"
	switch {
	case len(args) != 1:
		return fmt.Errorf("%s", shells)
	case cobra.OnlyValidArgs(cmd, args) != nil:
		return fmt.Errorf("unknown shell %s; %s", kv.Quote(args[0]), shells)
	}
	return nil
}
