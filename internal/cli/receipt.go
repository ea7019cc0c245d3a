package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"time"

	"kvexpress/internal/agent"
	"kvexpress/internal/atomicfile"
	"kvexpress/internal/deliver"
	"kvexpress/internal/fleet"
	"kvexpress/internal/kv"
)

// receiptLimit is how long an `out` takes to report, after its work is done.
const receiptLimit = 2 * time.Second

// receipt reports what became of a delivery, unless nothing has changed. One that is
// lost is noted, and made good by the next `out`; it never changes how this one ends.
func (s *session) receipt(ctx context.Context, stateDir string, r deliver.Result, err error) {
	if errors.Is(err, kv.ErrUnreachable) || errors.Is(err, kv.ErrNotStore) || ctx.Err() != nil {
		return // who could be told
	}
	var state *deliver.StateError
	if errors.As(err, &state) || r.Key == "" {
		return
	}
	sum := sha256.Sum256([]byte(r.File))
	owed := filepath.Join(stateDir, "receipts", hex.EncodeToString(sum[:]))
	if r.Outcome == deliver.Unchanged && err == nil {
		if _, none := os.Stat(owed); none != nil {
			return
		}
	}
	ctx, cancel := context.WithTimeout(ctx, receiptLimit)
	defer cancel()
	w := fleet.Writer{Store: s.plain, Layout: s.layout, Node: s.host}
	now := time.Now()
	said := agent.Said(r, err, now)
	_, lost := w.PutOut(ctx, now, said)
	if lost != nil {
		s.log.Warn("the receipt was not written; `--no-receipt` does without", "error", oneLine(lost))
	}
	// What went wrong is over when nothing has changed, and that is to be said then.
	// A token that may not report will not the next time either.
	denied := errors.Is(lost, kv.ErrDenied)
	if (lost != nil || said.State != string(agent.Current)) && !denied {
		if err := os.MkdirAll(filepath.Dir(owed), 0o700); err == nil {
			err = atomicfile.WriteFile(owed, nil)
			s.debug("the receipt that is owed was not noted", err)
		}
		return
	}
	if err := os.Remove(owed); !errors.Is(err, os.ErrNotExist) {
		s.debug("the note of an owed receipt was not removed", err)
	}
}

func (s *session) debug(text string, err error) {
	if err != nil {
		s.log.Debug(text, "error", err)
	}
}
