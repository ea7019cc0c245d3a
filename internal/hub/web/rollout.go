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
	Ago  string // since it began
	Next []step
	Acts bool   // the caller may act
	Why  string // it is not known
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
	return &rolloutBody{View: v, Ago: render.Span(v.Row.Elapsed(time.Now())), Next: nextSteps(k, *v.Row),
		Acts: w.o.MayAct(a.r) == nil}
}

// step is what the page can do to a rollout.
type step struct {
	do, label string
	command   string // that does the same
	does      string // for people
}

// nextSteps are the orders that a rollout obeys now.
func nextSteps(k kv.Key, r rollout.Row) (steps []step) {
	add := func(do, label, word, does string) {
		steps = append(steps, step{do, label, fmt.Sprintf("kvexpress rollout %s -k %s -r WHY", word, k), does})
	}
	if r.State == rollout.Running || r.State == rollout.Paused {
		for i, stage := range r.Plan.Stages {
			if i >= r.Stage && i > r.Go && stage.PauseBefore {
				add(doPromote, "Promote", "promote", fmt.Sprintf("Stage %d of %d (%s) may begin.", i+1, len(r.Plan.Stages), stage.Name()))
				break
			}
		}
	}
	back := "Its nodes install the live version again; the version is withdrawn."
	switch r.State {
	case rollout.Running:
		add(doPause, "Pause", "pause", "No further node gets the version; those that have it keep it.")
		add(doAbort, "Abort", "abort", back)
	case rollout.Paused, rollout.Halted:
		if steps == nil {
			add(doContinue, "Resume", "resume", "It goes on; the bake and the timeout of the stage begin anew.")
		}
		add(doAbort, "Abort", "abort", back)
	}
	return steps
}
