package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"kvexpress/internal/atomicfile"
	"kvexpress/internal/cli/render"
	"kvexpress/internal/hold"
	"kvexpress/internal/install"
	"kvexpress/internal/observe"
)

func (a *App) newLock(g *globals) *cobra.Command {
	var file, reason string
	var node nodeValue
	var force bool
	var last time.Duration
	cmd := a.with(g, &cobra.Command{
		Use:   "lock -f FILE",
		Short: "Freeze one file on one node",
		Long: `Freeze one file on this node: it stays as it is, whatever is published, until
"unlock", or until the time of --for is over.

FILE.locked is left beside it, for whoever looks into the folder; -c, -o and
--group are about that file.

With --node, the file is locked on another node. Receipts tell the names of nodes and
hosts. -f takes the whole path of the file there, and no FILE.locked is left. A node that
no receipt knows is refused: a misspelled name would lock nothing. --force takes the name
for a host name.`,
		Example: `  kvexpress lock -f /etc/hosts.consul -r 'looking into a DNS problem' --for 1h
  kvexpress lock -f /etc/hosts.consul
  kvexpress lock -f /etc/hosts.consul --node web-17 -r 'its disk is being replaced'`,
		Annotations: uses(flagsStore, flagsFile, flagsReport),
	}, func(ctx context.Context, s *session, _ []string) (report, error) {
		return s.lock(ctx, file, node.name, force, reason, last, s.cmd.Flags().Changed("for"))
	})
	cmd.Flags().StringVarP(&file, "file", "f", "", "`file` to lock")
	cmd.Flags().StringVarP(&reason, "reason", "r", "", "`reason`, shown by locks, status and history")
	durationVar(cmd.Flags(), &last, "for", 0, "end the lock after this `time`, such as 90m (default: never); 1.x ignores it")
	cmd.Flags().Var(&node, "node", "`name` of the node or its host (default: this machine)")
	cmd.Flags().BoolVar(&force, "force", false, "accept a --node without a receipt, such as one with kvexpress 1.x")
	return cmd
}

func (s *session) lock(ctx context.Context, name, node string, force bool, reason string, last time.Duration, timed bool) (report,
	error) {
	at, err := s.spotOf(name, node)
	if err != nil {
		return nil, err
	}
	if !at.here && !force {
		if err := at.known(ctx, s); err != nil {
			return nil, err
		}
		if at.here { // by another name
			if at, err = s.spotOf(name, ""); err != nil {
				return nil, err
			}
		}
	}
	file, row := at.file, s.layout.Lock(at.file, at.node)
	s.about = file
	var until time.Time
	if timed {
		if last < time.Second {
			return nil, errors.New("--for must be a second or more, such as 90m")
		}
		until = s.started.Add(last).Truncate(time.Second)
	}
	if reason == "" {
		reason = fmt.Sprintf("No reason given for '%s' by '%s' at '%s'.", file, s.author(), s.started.UTC().Format(time.RFC3339))
	}
	var marker install.Target // what the flags say of FILE.locked
	if err := s.fileOf(&marker); err != nil && at.here {
		return nil, err
	}
	attrs := marker.Attrs(atomicfile.Attrs{Mode: install.NewFileMode, UID: -1, GID: -1})
	f := s.actor(ctx, at.node)
	f.By.Key = s.keyOf(ctx, cmp.Or(node, at.node), file)
	was := ""
	for _, path := range at.files() {
		before, err := f.Lock(ctx, path, reason, until)
		if err != nil {
			s.observeFailure(err, row, observe.LocationSet)
			return nil, err
		}
		was = cmp.Or(was, before)
	}
	s.log.Info("locked", at.logged("reason", reason)...)
	s.metrics.Count("lock", row, observe.LocationComplete)
	if at.here {
		if err := hold.WriteMarker(file, reason, until, attrs); err != nil {
			s.warn(fmt.Sprintf("the file is locked, but %s could not be written: %s", hold.Marker(file), render.Error(err)))
		}
	}
	fields := map[string]any{"file": file, "node": at.node, "outcome": "locked", "reason": reason, "since": render.Time(s.started)}
	text := fmt.Sprintf("%s: locked %s", file, at.on())
	if timed {
		text += " until " + until.Format(time.RFC3339)
		fields["until"] = render.Time(until)
	}
	if was != "" && was != reason {
		text += fmt.Sprintf(", in the place of a lock with the reason %q", was)
		fields["replaced"] = was
	}
	return said{text: fmt.Sprintf("%s; `%s` lifts it", text, at.unlock()), fields: fields}, nil
}
