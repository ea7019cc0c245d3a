package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"kvexpress/internal/agent"
	"kvexpress/internal/atomicfile"
	"kvexpress/internal/install"
	"kvexpress/internal/kv"
	"kvexpress/internal/outcome"
)

// Target is a target to examine.
type Target struct {
	install.Target
	// Status is what the agent says about it; nil if it does not.
	Status *agent.TargetStatus
	// Installers read the live version of the target without one, each from another store. They may be none.
	Installers []*install.Installer
	Guide      kv.Guide // completes remedies
	// Late is what to do about a file that is not the live version, without an agent.
	Late string
	// Other is why this process cannot try what the agent does; "" if it can.
	Other string
}

// OfTarget checks that a file is the live version, that it can be replaced, and that its check and exec can be started.
func OfTarget(t Target) Check {
	return Check{Name: "target", About: t.File, Run: func(ctx context.Context) []Finding {
		all := []Finding{t.version(ctx)}
		if t.Other != "" {
			return append(all, found(NotChecked, "the rights to the file: %s", t.Other))
		}
		for _, err := range slices.Concat(t.place(), t.Programs()) {
			if !strings.Contains(all[0].Says, err.Error()) {
				all = append(all, found(Failure, "%v", err))
			}
		}
		if all[0].Result == OK && len(all) > 1 {
			all = all[1:] // the next version is in trouble
		}
		return all
	}}
}

// version compares the file with the live version. It prefers the word of the agent, which installs it.
func (t Target) version(ctx context.Context) Finding {
	if s := t.Status; s != nil {
		if s.ExecWaits() {
			return found(OK, "in place; its exec waits for exec_every")
		}
		return ofOutcome(s.Outcome, s.Version, s.Detail)
	}
	t.DryRun = true
	for _, from := range t.Installers {
		r, err := from.Install(ctx, t.Target)
		o, _ := agent.Judge(r, err)
		switch {
		case o == outcome.Unreachable:
			continue
		case err != nil:
			return ofOutcome(o, 0, t.Guide.Explain(err))
		case r.Action == install.Unchanged:
			return ofOutcome(o, r.Version, "")
		case r.Action == install.WouldExec:
			return found(Failure, "in place, but its exec is pending; %s", t.Late)
		case r.Action == install.WouldRepair:
			return found(Failure, "owner or mode are wrong; %s", t.Late)
		}
		return found(Failure, "it is not the live version%s; %s", numbered(r.Version), t.Late)
	}
	return found(NotChecked, "no store was asked for the live version; see the findings on stores and hubs")
}

func numbered(version uint64) string {
	if version == 0 {
		return ""
	}
	return fmt.Sprintf(" (%d)", version)
}

// place returns why the next version could not be put in place by this process.
func (t Target) place() (problems []error) {
	p, err := atomicfile.Find(t.File, nil)
	if err != nil {
		return []error{err}
	}
	defer func() { _ = errors.Join(p.Close(), p.Dir.Close()) }() // nothing was written
	if err := p.Open(); err != nil {
		return []error{err}
	}
	dir := p.Dir.Path()
	if t.InPlace && p.File != nil {
		problems = append(problems, access("write "+p.Path(), p.Path(), unix.W_OK))
		if linked, err := p.Linked(); err == nil && linked {
			problems = append(problems, fmt.Errorf("%s: %w", p.Path(), atomicfile.ErrLinks))
		}
	} else {
		problems = append(problems, access("write to the folder "+dir, dir, unix.W_OK|unix.X_OK))
	}
	problems = append(problems, fixed(dir, p.Path(), t.InPlace)...)
	problems = append(problems, space(dir), t.owned())
	return slices.DeleteFunc(problems, func(err error) bool { return err == nil })
}

// access is why this process may not do something; nil if it may.
func access(what, path string, mode uint32) error {
	err := unix.Faccessat(unix.AT_FDCWD, path, mode, unix.AT_EACCESS)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return fmt.Errorf("%s: %w", what, atomicfile.Explain(err))
}

// owned is why this process may not give the file to its owner and group.
func (t Target) owned() error {
	me := os.Geteuid()
	groups, _ := os.Getgroups() // it does not fail on Linux
	switch {
	case me == 0:
	case t.UID != nil && *t.UID != me:
		return fmt.Errorf("only root may give the file to uid %d, and this is uid %d; run the agent as root, or remove owner", *t.UID,
			me)
	case t.GID != nil && *t.GID != os.Getegid() && !slices.Contains(groups, *t.GID):
		return fmt.Errorf("uid %d is no member of the group %d of the file; add it, as with `usermod -aG`, or remove group", me, *t.GID)
	}
	return nil
}

// OfState checks the state folder: without it no target is installed.
func OfState(dir string) Check {
	return Check{Name: "state", About: dir, Run: func(context.Context) []Finding { return []Finding{ofState(dir)} }}
}

func ofState(dir string) Finding {
	p, err := atomicfile.Find(dir, nil)
	if err != nil {
		return found(Failure, "%v", err)
	}
	above := p.Dir.Path()
	_ = p.Dir.Close() // nothing was written
	d, err := atomicfile.OpenPrivate(dir, false)
	says := "it is usable"
	switch {
	case errors.Is(err, fs.ErrNotExist):
		says = "it will be made"
		err = access("make the folder "+dir, above, unix.W_OK|unix.X_OK)
		dir = above
	case err == nil:
		_ = d.Close()
		err = access("write there", dir, unix.W_OK|unix.X_OK)
	}
	if err == nil {
		err = space(dir)
	}
	if err != nil {
		return found(Failure, "%v; or choose another with state_dir", err)
	}
	if lasting := temporary(dir); lasting != "" {
		return found(Warning, "it is on a %s, and lost at a reboot: then execs run once more; choose another with state_dir", lasting)
	}
	return found(OK, "%s", says)
}
