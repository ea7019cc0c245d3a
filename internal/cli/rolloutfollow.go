package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"kvexpress/internal/cli/render"
	"kvexpress/internal/kv"
	"kvexpress/internal/rollout"
	"kvexpress/internal/wait"
	"kvexpress/internal/wire"
)

// lostFor is how long neither hubs nor the store may be reachable before a rollout is no longer followed.
const lostFor = time.Minute

// rolloutError is a rollout that did not end well, or that waits for a person after a failure.
type rolloutError struct {
	row rollout.Row
}

func (e *rolloutError) Error() string {
	is := "was"
	if !e.row.State.Ended() {
		is = "is"
	}
	text := fmt.Sprintf("%s: version %d is not live: its rollout %s %s", e.row.Key, e.row.Version, is, e.row.State)
	if e.row.Reason != "" {
		text += ": " + e.row.Reason
	}
	if e.row.State == rollout.Halted {
		return text + fmt.Sprintf("; `kvexpress rollout abort -k %s` brings its nodes back, "+
			"`kvexpress rollout resume -k %[1]s` goes on", e.row.Key)
	}
	return text + fmt.Sprintf("; see `kvexpress rollout status -k %s`", e.row.Key)
}

// follow shows a rollout until it ends. It ends with a *rolloutError unless the candidate became the current version. A signal
// ends the watching, not the rollout.
func (s *session) follow(ctx context.Context, k kv.Key, id string) (rollout.View, error) {
	ctx, done := s.interruptible(ctx)
	defer done()
	source, show := rolloutSource{s: s, k: k}, progress{s: s, bar: render.NewBar(s.screen(), string(k), s.utf8()), stage: -1}
	defer show.bar.End()
	var last rollout.View
	for answered := time.Now(); ; {
		v, err := source.next(ctx)
		behind := false // the hub has not seen the rollout yet
		if err == nil && (v.Row == nil || v.Row.ID != id) {
			var row *rollout.Row
			row, _, err = s.rolloutRow(ctx, k)
			behind = err == nil && row != nil && row.ID == id
		}
		switch {
		case ctx.Err() != nil:
			return last, fmt.Errorf("%s: no longer followed, and its rollout goes on: `kvexpress rollout status -k %s --follow` follows "+
				"it, `kvexpress rollout abort -k %[2]s` ends it: %w", k, k, context.Cause(ctx))
		case errors.Is(err, wire.ErrForbidden), err != nil && time.Since(answered) > lostFor, err != nil && !passing(err):
			return last, fmt.Errorf("%s: unknown how its rollout goes on; `kvexpress rollout status -k %s` tells: %w", k, k, err)
		case err != nil, behind:
			if wait.For(ctx, viewEvery) == nil {
				continue
			}
		case v.Row == nil || v.Row.ID != id:
			row := rollout.Row{Key: k, State: rollout.Superseded, Reason: "another rollout began"}
			if last.Row != nil {
				row = *last.Row
				row.State, row.Reason = rollout.Superseded, "another rollout began"
			}
			return rollout.View{Row: &row, Stages: last.Stages}, &rolloutError{row}
		default:
			answered, last = time.Now(), v
			show.view(v)
			switch {
			case v.Row.State == rollout.Promoted:
				return v, nil
			case v.Row.State.Ended(), v.Row.State == rollout.Halted:
				return v, &rolloutError{*v.Row}
			}
		}
	}
}

// passing reports whether an error may pass.
func passing(err error) bool {
	return errors.Is(err, kv.ErrUnreachable) || errors.Is(err, kv.ErrNotStore)
}

// progress shows how a rollout goes on: on a terminal as one line that is drawn again for each stage; else as a line for each
// stage and state; with --json as an object for each change, in one line.
type progress struct {
	s      *session
	bar    *render.Bar
	stage  int
	state  rollout.State
	reason string
	failed int // nodes that were named
	told   string
}

func (p *progress) view(v rollout.View) {
	row := v.Row
	if p.s.g.json {
		b, err := json.Marshal(rolloutOf(row.Key, v))
		if err == nil && string(b) != p.told {
			p.s.streamed = true
			_, _ = p.s.Stdout.Write(append(render.PrintableJSON(b), '\n')) // the result says more
			p.told = string(b)
		}
		return
	}
	for i := max(p.stage, 0); i < min(row.Stage, len(v.Stages)); i++ { // a short stage may be over at the first answer
		p.line(fmt.Sprintf("%s: done%s", stageName(v, i), counts(v.Stages[i], ": ")))
	}
	for _, f := range v.Failed[min(p.failed, len(v.Failed)):] {
		p.line(fmt.Sprintf("%s failed: %s: %s", f.Node, f.Reason, f.Detail))
	}
	if begins := row.Stage > p.stage && row.Stage < len(v.Stages); begins && row.State == rollout.Running {
		p.line(stageName(v, row.Stage) + ": begins")
	}
	silent := row.State == rollout.Running && row.Reason == "" || row.State.Ended() // the error tells how it ended
	if (row.State != p.state || row.Reason != p.reason) && !silent {
		text := fmt.Sprintf("version %d is %s", row.Version, row.State)
		if row.Reason != "" {
			text += ": " + row.Reason
		}
		p.line(text)
	}
	p.stage, p.state, p.reason, p.failed = max(p.stage, row.Stage), row.State, row.Reason, max(p.failed, len(v.Failed))
	if row.Stage < len(v.Stages) && !row.State.Ended() {
		stage := v.Stages[row.Stage]
		text := stageName(v, row.Stage) + counts(stage, "  ")
		if stage.Waits != "" {
			text += "  waits for " + stage.Waits
		}
		p.bar.Show(float64(stage.Healthy)/float64(max(1, stage.Nodes)), render.Line(text))
	}
}

// line prints a line that stays.
func (p *progress) line(text string) {
	p.bar.End()
	fmt.Fprintf(p.s.Stderr, "kvexpress: %s: %s\n", p.s.k, render.Line(text))
}

// stageName is "stage 2/3 (10%)".
func stageName(v rollout.View, i int) string {
	return fmt.Sprintf("stage %d/%d (%s)", i+1, len(v.Stages), v.Stages[i].Name)
}

// counts are the nodes of a stage; "" if they are not known: only the controller knows them.
func counts(s rollout.StageView, before string) string {
	if s.Nodes == 0 {
		return ""
	}
	text := fmt.Sprintf("%s%d of %s healthy", before, s.Healthy, render.Plural(s.Nodes, "node"))
	if s.Failed > 0 {
		text += fmt.Sprintf(", %d failed", s.Failed)
	}
	return text
}

// compact is a JSON object in one line, if lines were printed before it.
func (s *session) compact(b []byte) []byte {
	var line bytes.Buffer
	if !s.streamed || json.Compact(&line, b) != nil {
		return b
	}
	line.WriteByte('\n')
	return line.Bytes()
}

// rolloutReport is a rollout, for `rollout status` and for each line of --json.
type rolloutReport struct {
	Key        kv.Key               `json:"key"`
	Rollout    string               `json:"rollout"` // its id
	Version    uint64               `json:"version"`
	SHA256     string               `json:"sha256"`
	State      rollout.State        `json:"state"`
	Reason     string               `json:"reason,omitempty"`
	By         string               `json:"by"`
	Started    time.Time            `json:"started"`
	Stage      int                  `json:"stage"` // that runs, from 1
	Stages     []rollout.StageView  `json:"stages"`
	LeftOut    []rollout.LeftOut    `json:"left_out,omitempty"`
	Failed     []rollout.FailedNode `json:"failed,omitempty"`
	On         []string             `json:"on,omitempty"`
	Stopped    bool                 `json:"stopped,omitempty"`
	Controller string               `json:"controller,omitempty"`

	hub string // that answered; "": the store did
	now time.Time
}

func rolloutOf(k kv.Key, v rollout.View) rolloutReport {
	r := *v.Row
	return rolloutReport{
		Key: k, Rollout: r.ID, Version: r.Version, SHA256: r.SHA256, State: r.State, Reason: r.Reason, By: r.By,
		Started: time.Unix(r.Started, 0).UTC(), Stage: min(r.Stage+1, len(v.Stages)), Stages: v.Stages, LeftOut: v.Left,
		Failed: v.Failed, On: v.On, Stopped: v.Stopped, Controller: r.Controller, hub: v.Hub,
	}
}

func (r rolloutReport) lines() []string {
	head := fmt.Sprintf("%s: the rollout of version %d is %s; %s began it %s ago", r.Key, r.Version, r.State,
		cmp.Or(r.By, "an unknown user"), render.Span(r.now.Sub(r.Started)))
	lines := []string{render.Line(head)}
	if r.Reason != "" {
		lines = append(lines, render.Line("  "+r.Reason))
	}
	rows := [][]string{{"STAGE", "NODES", "ADMITTED", "HEALTHY", "FAILED", "WAITS FOR"}}
	for i, s := range r.Stages {
		row := []string{fmt.Sprintf("%d %s", i+1, s.Name), "-", "-", "-", "-", render.Dash(s.Waits)}
		if s.Nodes > 0 {
			row[1], row[2], row[3], row[4] = fmt.Sprint(s.Nodes), fmt.Sprint(s.Admitted), fmt.Sprint(s.Healthy), fmt.Sprint(s.Failed)
		}
		switch {
		case s.Done:
			row[5] = "done"
		case s.Waits != "" && s.Waits == r.Reason: // the line above the table says it
			row[5] = "an operator"
		}
		rows = append(rows, row)
	}
	lines = append(lines, render.Table(rows)...)
	for _, f := range r.Failed {
		lines = append(lines, render.Line(fmt.Sprintf("%s failed: %s: %s", f.Node, f.Reason, f.Detail)))
		if f.Output != "" {
			for _, line := range outputLines(f.Output) {
				lines = append(lines, "    "+render.Line(line))
			}
		}
	}
	for _, l := range r.LeftOut {
		lines = append(lines, render.Line(fmt.Sprintf("%s is not counted: %s", l.Node, l.Why)))
	}
	if r.Stopped {
		lines = append(lines, fmt.Sprintf("the key is stopped; `kvexpress resume -k %s` lets its rollout go on", r.Key))
	}
	if r.hub == "" && !r.State.Ended() {
		lines = append(lines, "only a hub knows the numbers of nodes; name it with --hub")
	}
	return lines
}
