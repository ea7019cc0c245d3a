package cli

import (
	"kvexpress/internal/atomicfile"
	"kvexpress/internal/cli/render"
	"kvexpress/internal/install"
)

// installHook names the steps of an install, and then calls a test's hook.
func installHook(p *render.Steps, next install.Hook) install.Hook {
	if !p.Shown() {
		return next
	}
	return func(step install.Step) error {
		p.Step(map[install.Step]string{
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
