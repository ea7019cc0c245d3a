package cli

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"kvexpress/internal/agent"
	"kvexpress/internal/atomicfile"
	"kvexpress/internal/cli/render"
	"kvexpress/internal/fleet"
	"kvexpress/internal/install"
	"kvexpress/internal/kv"
	"kvexpress/internal/outcome"
)

// receiptLimit is the time limit of an out's receipt, after the install.
const receiptLimit = 2 * time.Second

// receipt reports the outcome of an install, unless nothing has changed. If it cannot be written, a
// note in the state folder makes the next out write one. It never changes the exit code.
func (s *session) receipt(ctx context.Context, stateDir string, r install.Result, err error) {
	if errors.Is(err, kv.ErrUnreachable) || errors.Is(err, kv.ErrNotStore) || ctx.Err() != nil {
		return // no store to write to
	}
	var state *install.StateError
	if errors.As(err, &state) || r.Key == "" {
		return
	}
	name, noted := kv.FileHash(r.File), false
	s.notes(stateDir, false, func(d *atomicfile.Dir) error { noted = d.Has(name); return nil })
	if r.Action == install.Unchanged && err == nil && !noted {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, receiptLimit)
	defer cancel()
	w := fleet.Writer{Store: s.plain, Layout: s.layout, Node: s.host}
	now := time.Now()
	said := agent.OutReceipt(r, err, now)
	_, lost := w.PutOut(ctx, now, said)
	denied := errors.Is(lost, kv.ErrDenied)
	if denied && !errors.Is(err, kv.ErrDenied) { // else the error of out says the same
		s.warn("`kvexpress status` does not show this install: " + s.guide().Explain(lost) + "; --no-receipt turns receipts off")
	} else if lost != nil {
		s.log.Warn("the receipt was not written; --no-receipt turns receipts off", "error", render.Error(lost))
	}
	// After a failure, the next out reports even if it changes nothing: the failure is over then. A denied token stays denied.
	if (lost != nil || said.Outcome != outcome.Converged) && !denied {
		s.notes(stateDir, true, func(d *atomicfile.Dir) error { return d.WriteFile(name, nil) })
	} else if noted {
		s.notes(stateDir, true, func(d *atomicfile.Dir) error { return d.Remove(name) })
	}
}

// notes opens the folder for notes of pending receipts, if it can be used.
func (s *session) notes(stateDir string, make bool, use func(*atomicfile.Dir) error) {
	state, err := atomicfile.OpenPrivate(stateDir, make)
	if err == nil {
		var d *atomicfile.Dir
		if d, err = state.Private("receipts", make); err == nil {
			err = errors.Join(use(d), d.Close())
		}
		err = errors.Join(err, state.Close())
	}
	if make || !errors.Is(err, fs.ErrNotExist) {
		s.debug("the note of a pending receipt was not read or written", err)
	}
}

func (s *session) debug(text string, err error) {
	if err != nil {
		s.log.Debug(text, "error", err)
	}
}
