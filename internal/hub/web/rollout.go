package web

import (
	"fmt"
	"time"

	"kvexpress/internal/cli/render"
	"kvexpress/internal/kv"
	"kvexpress/internal/rollout"
)

// rolloutBody is the last rollout of a key, as `rollout status` shows it.
type rolloutBody struct {
	rollout.View
	Ago  string   // since it began
	Next []string // commands that act on it
	Why  string   // it is not known
}

// rollout is the rollout of a key, for a caller that may read the key's data; nil: there is none.
func (w *Web) rollout(a *asked, k kv.Key) *rolloutBody {
	path := w.o.Layout.Data(k)
	may, err := w.rights.may(a.ctx, w.o.Token(a.r), path)
	switch {
	case err != nil:
		return &rolloutBody{Why: render.Error(err)}
	case !may[path]:
		return &rolloutBody{Why: "your token may not read the data of this key"}
	}
	v, err := w.o.Rollout(a.ctx, k, w.o.Private(a.r))
	switch {
	case err != nil:
		return &rolloutBody{Why: render.Error(err)}
	case v.Row == nil:
		return nil
	}
	return &rolloutBody{View: v, Ago: render.Span(v.Row.Elapsed(time.Now())), Next: nextSteps(k, *v.Row)}
}

// nextSteps are the commands that a rollout obeys now.
func nextSteps(k kv.Key, r rollout.Row) (commands []string) {
	add := func(word, more string) {
		commands = append(commands, fmt.Sprintf("kvexpress rollout %s -k %s%s", word, k, more))
	}
	const why = " -r WHY"
	if r.State == rollout.Running || r.State == rollout.Paused {
		for i, stage := range r.Plan.Stages {
			if i >= r.Stage && i > r.Go && stage.PauseBefore {
				add("promote", "")
				break
			}
		}
	}
	switch r.State {
	case rollout.Running:
		add("pause", why)
		add("abort", why)
	case rollout.Paused, rollout.Halted:
		if commands == nil {
			add("resume", "")
		}
		add("abort", why)
	}
	return commands
}
