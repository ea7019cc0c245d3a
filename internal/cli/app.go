package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"kvexpress/internal/cli/render"
	"kvexpress/internal/command"
	"kvexpress/internal/config"
	"kvexpress/internal/install"
	"kvexpress/internal/kv"
	"kvexpress/internal/publish"
)

// App is one run of the program. Its fields replace the process's streams and environment.
type App struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Getenv         func(string) string
	StateDir       string // without --state-dir; "": install.DefaultStateDir

	// Interruptible returns a context that ends with a signal. Only commands that must clean up
	// call it; a signal ends the others at once. nil: the context of Run.
	Interruptible func(context.Context) (context.Context, context.CancelFunc)

	// Hangups returns the signals that reload a configuration, and a function to stop them. nil: no such signals.
	Hangups func() (<-chan os.Signal, func())

	inside *inside // nil, except for commands that the demo runs

	// For tests: called at each fault injection point of an install or a publish.
	FaultHook    install.FaultHook
	PublishFault func(publish.Point) error
}

// Run executes one command line, without the program's name, and returns its exit code. An error is
// one line on Stderr; a configuration with several mistakes has a line for each.
func (a *App) Run(ctx context.Context, args []string) int {
	// A library's own log may contain a token: net/http quotes unexpected answers.
	slog.SetDefault(slog.New(slog.DiscardHandler)) // also silences package log
	if a.inside == nil {
		render.FitTables(a.Stdout)
	}
	root := a.newRoot(args...)
	countOnce(root)
	args = oldSpellings(root, args)
	root.SetArgs(args)
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
	// Wrong flags or arguments: the command has not started.
	s := &session{App: a, g: &globals{json: slices.Contains(args, "--json")}}
	s.openLog("main") // 1.x's name; the output of a watch is often lost
	_ = s.printResult(nil, err, exitOther)
	s.close(err, exitOther)
	return exitOther
}

// complain prints an error in one line, or each mistake of a configuration in its own line.
func (s *session) complain(err error) {
	lines := []string{s.guide().Explain(err)}
	if bad := (*config.Error)(nil); errors.As(err, &bad) {
		lines = strings.Split(err.Error(), "\n")
	}
	for _, line := range lines {
		fmt.Fprintf(s.Stderr, "kvexpress: %s\n", render.Line(line))
	}
	if failed := (*command.Error)(nil); errors.As(err, &failed) && failed.Output != "" {
		for _, line := range outputLines(failed.Output) {
			fmt.Fprintf(s.Stderr, "    %s\n", line)
		}
	}
}

// outputLines returns the lines of a command's output, without tabs.
func outputLines(output string) []string {
	return strings.Split(strings.ReplaceAll(strings.TrimRight(output, "\n"), "\t", "    "), "\n")
}

// reportedError is an error that has been printed.
type reportedError struct {
	error
	code int
}

func (e *reportedError) Unwrap() error { return e.error }

// newRoot creates the command tree. With the name of a command in args it creates only that one.
func (a *App) newRoot(args ...string) *cobra.Command {
	g := &globals{}
	root := described("kvexpress", "version")
	root.Args, root.SilenceErrors, root.SilenceUsage = unknownCommand, true, true
	root.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	root.PersistentPreRunE = func(*cobra.Command, []string) error { return a.printVersion(g) }
	root.SetCompletionCommandGroupID("More")
	root.SetGlobalNormalizationFunc(dashes)
	g.register(root.PersistentFlags())
	root.SetUsageFunc(usage)
	a.addCommands(root, g, args)
	help := newHelp()
	root.SetHelpCommand(help)
	root.AddCommand(help)
	root.SetFlagErrorFunc(flagError)
	return root
}

// commandGroup is a part of the list of commands in the help.
type commandGroup struct {
	title    string
	commands []namedCommand
}

type namedCommand struct {
	name   string
	create func(*globals) *cobra.Command
}

func (a *App) commandGroups() []commandGroup {
	return []commandGroup{
		{"Publish", []namedCommand{{"in", a.newIn}, {"copy", a.newCopy}, {"rollback", a.newRollback}, {"retire", a.newRetire},
			{"policy", a.newPolicy}, {"rollout", a.newRollout}}},
		{"Install", []namedCommand{{"out", a.newOut}, {"raw", a.newRaw}}},
		{"See", []namedCommand{{"status", a.newStatus}, {"history", a.newHistory}, {"show", a.newShow}, {"diff", a.newDiff},
			{"stops", a.newStops}, {"locks", a.newLocks}, {"doctor", a.newDoctor}}},
		{"Freeze and undo", []namedCommand{{"stop", a.newStop}, {"resume", a.newResume}, {"lock", a.newLock},
			{"unlock", a.newUnlock}}},
		{"Run", []namedCommand{{"agent", a.newAgent}, {"hub", a.newHub}, {"demo", a.newDemo}}},
		{"More", []namedCommand{{"acl", a.newACL}, {"clean", a.newClean}, {"forget", a.newForget},
			{"kv", a.newKV}, {"version", a.newVersion}}},
	}
}

// addCommands creates the commands whose names are in args, or all if there are none: `out` runs at
// every change, so its start is short.
func (a *App) addCommands(root *cobra.Command, g *globals, args []string) {
	all := slices.ContainsFunc(args, func(arg string) bool {
		return arg == "help" || arg == "completion" || strings.HasPrefix(arg, cobra.ShellCompRequestCmd)
	})
	all = all || !slices.ContainsFunc(a.commandGroups(), func(group commandGroup) bool {
		return slices.ContainsFunc(group.commands, func(c namedCommand) bool { return slices.Contains(args, c.name) })
	})
	for _, group := range a.commandGroups() {
		root.AddGroup(&cobra.Group{ID: group.title, Title: group.title})
		for _, c := range group.commands {
			if all || slices.Contains(args, c.name) {
				cmd := c.create(g)
				cmd.GroupID = group.title
				root.AddCommand(cmd)
			}
		}
	}
}

// unknownCommand refuses an unknown command, and suggests the nearest one.
func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	all := cmd
	if !cmd.HasParent() { // newRoot may have created only some commands
		all = (&App{}).newRoot()
	}
	var names []string
	for _, sub := range all.Commands() {
		names = append(names, sub.Name())
	}
	return fmt.Errorf("%s is not a command%s; see `%s --help`", kv.Quote(args[0]), nearestTo(args[0], "", names), cmd.CommandPath())
}

// nearestTo suggests the nearest of some names; "" if none is near.
func nearestTo(word, dashes string, names []string) string {
	if near := config.Nearest(word, names); near != "" {
		return fmt.Sprintf("; did you mean %q?", dashes+near)
	}
	return ""
}

// noArgs refuses arguments.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if cmd.HasAvailableSubCommands() {
		return unknownCommand(cmd, args)
	}
	return fmt.Errorf("unexpected argument %q; `%s` takes flags only, see `%[2]s --help`", args[0], cmd.CommandPath())
}

// flagError names the values that a flag takes; Go's parsers only say that they failed.
func flagError(cmd *cobra.Command, err error) error {
	if cmd.HasAvailableSubCommands() && cmd.Flags().NArg() > 0 { // the command does not exist
		return unknownCommand(cmd, cmd.Flags().Args())
	}
	if unknown := (*pflag.NotExistError)(nil); errors.As(err, &unknown) && len(unknown.GetSpecifiedName()) > 1 {
		var names []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
		err = fmt.Errorf("%w%s", err, nearestTo(unknown.GetSpecifiedName(), "--", names))
	}
	var invalid *pflag.InvalidValueError
	if errors.As(err, &invalid) {
		takes := map[string]string{"int": "a whole number", "duration": "a time such as 30s, 5m or 1d",
			"bool": "true or false"}[invalid.GetFlag().Value.Type()]
		if err = invalid.Unwrap(); takes != "" && !errors.Is(err, errTwice) {
			err = fmt.Errorf("%s is not %s", kv.Quote(invalid.GetValue()), takes)
		}
		err = fmt.Errorf("--%s: %w", invalid.GetFlag().Name, err)
	}
	return fmt.Errorf("%w; see `%s --help`", err, cmd.CommandPath())
}
