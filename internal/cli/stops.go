package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"kvexpress/internal/cli/render"
	"kvexpress/internal/hold"
)

func (a *App) newStops(g *globals) *cobra.Command {
	return a.with(g, "stops", uses(flagsStore, "json verbose"),
		func(ctx context.Context, s *session) (report, error) { return s.stops(ctx) })
}

func (s *session) stops(ctx context.Context) (report, error) {
	stops, left, err := s.freezer().Stops(ctx)
	var part *hold.PartialError
	if errors.As(err, &part) {
		s.warn(fmt.Sprintf("this token cannot read all keys below %s; other keys may be stopped, too", part.Below))
	} else if err != nil {
		return nil, err
	}
	r := stopReport{Stops: append([]hold.Stop{}, stops...), Partial: part != nil, now: s.started}
	if len(left) > 0 {
		s.warn(leftOut(left))
		r.Partial = true
	}
	return r, nil
}

type stopReport struct {
	Stops   []hold.Stop `json:"stops"`
	Partial bool        `json:"partial"` // there may be more
	now     time.Time
}

func (r stopReport) lines() []string {
	switch {
	case len(r.Stops) == 0 && r.Partial:
		return []string{"no key that this token can read is stopped"}
	case len(r.Stops) == 0:
		return []string{"no key is stopped"}
	}
	rows := [][]string{{"KEY", "SET", "WHO", "REASON"}}
	for _, stop := range r.Stops {
		rows = append(rows, []string{string(stop.Key), render.Ago(stop.Since, r.now), cmp.Or(stop.Who, "unknown"), stop.Reason})
	}
	return render.Table(rows)
}
