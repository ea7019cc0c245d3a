package cli

import (
	"kvexpress/internal/atomicfile"
	"kvexpress/internal/cli/render"
	"kvexpress/internal/install"
)

// installHook names the steps of an install, and then calls a test's hook.
func installHook(p *render.Steps, next install.FaultHook) install.FaultHook {
	if !p.Shown() {
		return next
	}
	return func(step install.FaultPoint) error {
		p.Step(map[install.FaultPoint]string{
			install.AtRead:     "asking the store",
			install.AtReadData: "reading the content",
			install.AtCheck:    "running the check",
			install.AtExec:     "running the exec",
			install.AtRestore:  "putting the old content back",

			install.FaultPoint(atomicfile.AtSync): "writing to disk",
		}[step])
		if next == nil {
			return nil
		}
		return next(step)
	}
}
