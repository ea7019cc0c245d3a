package cli

import (
	"fmt"
	"time"

	"kvexpress/internal/atomicfile"
	"kvexpress/internal/install"
)

// slow is how long a step may take before people are told what is going on.
const slow = time.Second

// progress tells people at a terminal what takes long, one line for each step.
type progress struct {
	say   func(what string)
	timer *time.Timer
}

// newProgress says nothing unless stderr is a terminal.
func (s *session) newProgress(about string) *progress {
	p := &progress{}
	if isTerminal(s.Stderr) {
		p.say = func(what string) { fmt.Fprintf(s.Stderr, "kvexpress: %s: %s …\n", about, what) }
	}
	return p
}

// step begins a step; "" ends the last one.
func (p *progress) step(what string) {
	if p.say == nil {
		return
	}
	if p.timer != nil {
		p.timer.Stop()
	}
	if what != "" {
		p.timer = time.AfterFunc(slow, func() { p.say(what) })
	}
}

// deliverHook names the steps of a delivery, before the hook of a test is called.
func (p *progress) deliverHook(next install.Hook) install.Hook {
	if p.say == nil {
		return next
	}
	return func(step install.Step) error {
		p.step(map[install.Step]string{
			install.StepRead:     "asking the store",
			install.StepReadData: "reading the content",
			install.StepCheck:    "running the check",
			install.StepExec:     "running the exec",
			install.StepRestore:  "putting the old content back",

			install.Step(atomicfile.StepSync): "writing to disk",
		}[step])
		if next == nil {
			return nil
		}
		return next(step)
	}
}
