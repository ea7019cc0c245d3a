package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
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

// receiptLimit is how long an `out` takes to report, after its work is done.
const receiptLimit = 2 * time.Second

// receipt reports what became of a delivery, unless nothing has changed. One that is
// lost is noted, and made good by the next `out`; it never changes how this one ends.
func (s *session) receipt(ctx context.Context, stateDir string, r install.Result, err error) {
	if errors.Is(err, kv.ErrUnreachable) || errors.Is(err, kv.ErrNotStore) || ctx.Err() != nil {
		return // who could be told
	}
	var state *install.StateError
	if errors.As(err, &state) || r.Key == "" {
		return
	}
	sum := sha256.Sum256([]byte(r.File))
	name, noted := hex.EncodeToString(sum[:]), false
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
	if denied && !errors.Is(err, kv.ErrDenied) { // else that is what out fails with
		s.warn(fmt.Sprintf("`kvexpress status` does not know of this, as the token may not write the receipt %s; "+
			"`kvexpress acl node -k %s --node %s -p %s` prints the policy that is needed, and --no-receipt does without",
			s.layout.Node(s.host), r.Key, s.host, s.layout.Prefix()))
	} else if lost != nil {
		s.log.Warn("the receipt was not written; `--no-receipt` does without", "error", render.Error(lost))
	}
	// What went wrong is over when nothing has changed, and that is to be said then.
	// A token that may not report will not the next time either.
	if (lost != nil || said.Outcome != outcome.Converged) && !denied {
		s.notes(stateDir, true, func(d *atomicfile.Dir) error { return d.WriteFile(name, nil) })
	} else if noted {
		s.notes(stateDir, true, func(d *atomicfile.Dir) error { return d.Remove(name) })
	}
}

// notes opens the folder for notes of receipts that are owed, if it can be used.
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
		s.debug("the note of an owed receipt was not read or written", err)
	}
}

func (s *session) debug(text string, err error) {
	if err != nil {
		s.log.Debug(text, "error", err)
	}
}
