package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"kvexpress/internal/cli/render"
	"kvexpress/internal/kv"
	"kvexpress/internal/record"
)

func (a *App) newHistory(g *globals) *cobra.Command {
	var name string
	var most int
	var past bool
	cmd := a.with(g, "history", uses(flagsStore, flagsReport), func(ctx context.Context, s *session) (report, error) {
		if s.cmd.Flags().Changed("number") && most < 1 {
			return nil, errors.New("-n must be 1 or more")
		}
		if past {
			return s.eventsOf(ctx, name, most)
		}
		return s.history(ctx, name, most)
	})
	cmd.Flags().StringVarP(&name, "key", "k", "", "`key` to show versions of")
	cmd.Flags().IntVarP(&most, "number", "n", 0, "show the newest `n` only (default: all)")
	cmd.Flags().BoolVar(&past, "events", false, "show who acted on the key, when and why")
	return cmd
}

// versions reads kept versions, and those that were never live.
func (s *session) versions() record.History {
	return record.History{Store: s.store, Layout: s.layout, Any: true}
}

func (s *session) history(ctx context.Context, name string, most int) (report, error) {
	k, err := s.key(name)
	if err != nil {
		return nil, err
	}
	l, err := s.versions().List(ctx, k)
	if err != nil {
		s.observeFailure(err, "", "")
		return nil, err
	}
	r := historyReport{Key: k, Lineage: l.Lineage, Deleted: l.State == record.Absent, Skipped: l.Skipped, now: time.Now(),
		colour: s.colour()}
	if live, ok := l.Live(); ok {
		r.Version = live.Number
	}
	note := func(text string) {
		r.notes = append(r.notes, render.Paint(r.colour, render.Yellow, render.Line(s.guide().Typed(text))))
	}
	if l.Stopped != nil {
		r.Stopped = l.Stopped.Reason
		note(l.Stopped.Error())
	}
	if kept := l.Kept(); r.Deleted && len(kept) > 0 {
		note(fmt.Sprintf("%s was deleted; its history is kept; `kvexpress rollback -k %[1]s --to %d` publishes the newest version", k,
			kept[0]))
	} else if r.Deleted {
		note(fmt.Sprintf("%s was deleted; its history is kept", k))
	}
	if r.Skipped > 0 {
		r.notes = append(r.notes, fmt.Sprintf("%d more entries are not shown; kvexpress keeps only 10", r.Skipped))
	}
	for i, v := range l.Versions {
		if most == 0 || i < most {
			r.Versions = append(r.Versions, infoOf(v))
		}
	}
	return r, nil
}

// parseVersion reads the number of a version. 0 is no version, see parseKept.
func parseVersion(what, text string) (uint64, error) {
	v, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s %s is not a version; give a number such as 12", what, kv.Quote(text))
	}
	return v, nil
}

// parseKept reads the number of a kept version: they begin with 1.
func parseKept(what, text string) (uint64, error) {
	v, err := parseVersion(what, text)
	if err == nil && v == 0 {
		err = fmt.Errorf("%s 0 is not a version: they begin with 1", what)
	}
	return v, err
}

// versionInfo is a version in JSON.
type versionInfo struct {
	Version     uint64       `json:"version,omitempty"`
	Live        bool         `json:"live"`
	State       record.State `json:"state"`
	Detail      string       `json:"detail,omitempty"`
	PublishedAt *time.Time   `json:"published_at,omitempty"`
	By          string       `json:"by,omitempty"`
	Message     string       `json:"message,omitempty"`
	Lines       int          `json:"lines"`
	Size        int64        `json:"size"`
	SHA256      string       `json:"sha256,omitempty"`
	Encoding    string       `json:"encoding,omitempty"`
	Lineage     string       `json:"lineage,omitempty"`
	PublishID   string       `json:"publish_id,omitempty"`
	Now         bool         `json:"now,omitempty"` // published with --now, past the stages of the policy
}

func infoOf(v record.Version) versionInfo {
	i := versionInfo{
		Version: v.Number, Live: v.Live, State: v.State, Detail: v.Why,
		Lines: v.Lines, Size: v.Size, SHA256: v.SHA256,
	}
	if m := v.Manifest; m != nil && v.State != record.Unmanaged {
		i.By, i.Message, i.Encoding, i.Lineage, i.PublishID = m.By, m.Message, m.Encoding, m.Lineage, m.PublishID
		i.Now = m.Now
		if !m.PublishedAt.IsZero() {
			i.PublishedAt = &m.PublishedAt
		}
	}
	return i
}

// name is the name of a version in a table.
func (i versionInfo) name() string {
	name := render.Number(i.Version, "unknown")
	if i.State == record.Unmanaged {
		name = "unmanaged"
	}
	if i.Live {
		name += " (live)"
	}
	return name
}

// published is the local time of the publish, and its age.
func (i versionInfo) published(now time.Time) string {
	if i.PublishedAt == nil {
		return "-"
	}
	return fmt.Sprintf("%s (%s ago)", i.PublishedAt.In(now.Location()).Format(time.DateTime+"Z07:00"),
		render.Span(now.Sub(*i.PublishedAt)))
}

type historyReport struct {
	Key      kv.Key        `json:"key"`
	Lineage  string        `json:"lineage,omitempty"`
	Version  uint64        `json:"version,omitempty"` // the live one
	Deleted  bool          `json:"deleted,omitempty"`
	Stopped  string        `json:"stopped,omitempty"`
	Skipped  int           `json:"skipped,omitempty"`
	Versions []versionInfo `json:"versions"`

	notes  []string  // above the table
	now    time.Time // in the zone in which times are shown
	colour bool
}

func (r historyReport) lines() []string {
	if len(r.notes) == 0 {
		return r.table()
	}
	return slices.Concat(r.notes, []string{""}, r.table())
}

func (r historyReport) table() []string {
	rows := [][]string{{"VERSION", "PUBLISHED", "BY", "LINES", "SIZE", "SHA256", "MESSAGE"}}
	for _, v := range r.Versions {
		row := []string{v.name(), v.published(r.now), render.Dash(v.By), "-", "-", render.Dash(render.Short(v.SHA256)),
			render.Dash(v.Message)}
		if v.SHA256 != "" {
			row[3], row[4] = strconv.Itoa(v.Lines), strconv.FormatInt(v.Size, 10)
		}
		rows = append(rows, row)
	}
	return render.TableWith(rows, func(row, column int) string {
		switch v := r.Versions[row]; {
		case !r.colour || column != 0:
			return ""
		case !v.State.Whole():
			return render.Red
		case v.Live:
			return render.Green
		}
		return ""
	}, func(row int) []string { return []string{r.Versions[row].judgement()} })
}

// judgement is the detail, after its state.
func (i versionInfo) judgement() string {
	if i.State == record.Damaged && i.Detail != "" {
		return "damaged: " + i.Detail
	}
	if i.Now && i.Detail == "" {
		return "published with --now, past the stages of the policy"
	}
	return i.Detail
}
