package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"kvexpress/internal/deliver"
	"kvexpress/internal/publish"
)

// App is one run of the program, with all that it takes from the process as
// values.
type App struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Getenv         func(string) string
	StateDir       string // without --state-dir; "": deliver.DefaultStateDir

	// For tests: called before each step of an install and of a publish.
	DeliverHook deliver.Hook
	PublishHook func(publish.Step) error
}

// Run executes one command line, without the program's name, and returns its exit
// code. What failed is on Stderr, in one line.
func (a *App) Run(ctx context.Context, args []string) int {
	root := a.newRoot()
	root.SetArgs(oldSpellings(root, args))
	root.SetIn(a.Stdin)
	root.SetOut(a.Stdout)
	root.SetErr(a.Stderr)
	err := root.ExecuteContext(ctx)
	var told *reportedError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &told):
		return told.code
	}
	// Flags and arguments: nothing was begun.
	a.complain(err)
	return exitOther
}

func (a *App) complain(err error) {
	fmt.Fprintf(a.Stderr, "kvexpress: %s\n", message(err))
}

// reportedError is an error that the user has been told.
type reportedError struct {
	error
	code int
}

func (e *reportedError) Unwrap() error { return e.error }

// oneLine is the text of an error without line breaks, which joined errors have.
func oneLine(err error) string {
	lines := strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' || r == '\r' })
	return strings.Join(lines, "; ")
}

func (a *App) newRoot() *cobra.Command {
	g := &globals{}
	root := &cobra.Command{
		Use:   "kvexpress",
		Short: "Put a file on every machine of a fleet through Consul, verified",
		Long: `kvexpress puts a file on every machine of a fleet through Consul's KV store.

One machine publishes it with "in". Every node installs it with "out": verified,
whole or not at all, and only when something has changed.`,
		Example: `  kvexpress in  -k hosts -f /etc/consul-template/output/hosts.consul -l 100 --sorted
  kvexpress out -k hosts -f /etc/hosts.consul -l 100 -e 'pkill -HUP dnsmasq'
  kvexpress stop -k hosts -r 'bad upstream data'`,
		Args:          unknownCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetGlobalNormalizationFunc(dashes)
	g.register(root.PersistentFlags())
	root.SetUsageFunc(usage)
	root.AddCommand(
		a.newIn(g), a.newOut(g), a.newRaw(g), a.newCopy(g), a.newClean(g),
		a.newStop(g), a.newResume(g), a.newLock(g), a.newUnlock(g),
		a.newACL(g), a.newVersion(g),
	)
	for _, cmd := range append(root.Commands(), root) {
		cmd.Version = build().version
		cmd.SetVersionTemplate(build().text())
		cmd.SetFlagErrorFunc(flagError)
	}
	return root
}

// unknownCommand refuses what is no command, with the nearest one.
func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	near := ""
	if found := cmd.SuggestionsFor(args[0]); len(found) > 0 {
		near = fmt.Sprintf(" did you mean %q?", found[0])
	}
	return fmt.Errorf("%q is not a command;%s see `kvexpress --help`", args[0], near)
}

// noArgs refuses what is left over, and says what people usually meant.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return fmt.Errorf("%q is left over; `kvexpress %s` takes flags only, see `kvexpress %[2]s --help`", args[0], cmd.Name())
}

func flagError(cmd *cobra.Command, err error) error {
	return fmt.Errorf("%w; see `%s --help`", err, cmd.CommandPath())
}
