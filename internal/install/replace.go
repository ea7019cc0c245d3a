package install

import (
	"context"
	"fmt"

	"kvexpress/internal/gate"
	"kvexpress/internal/kv"
	"kvexpress/internal/record"
)

// replace handles a file that does not have the promised bytes.
func (tx *transaction) replace(ctx context.Context, promised record.Live) error {
	if tx.target.keepsOld() && tx.share != nil {
		tx.share.old = tx.disk.size
	}
	live, err := tx.content(ctx, promised)
	if err != nil {
		return err
	}
	if tx.leaves() { // the rows may be newer
		return tx.leave()
	}
	if tx.disk.exists && tx.target.keepsOld() {
		if tx.disk, err = readFile(tx.file, true); err != nil {
			return err
		}
		tx.result.Old = tx.disk.content
	}
	if tx.older(live) {
		if live, err = tx.confirmOlder(ctx); err != nil {
			return err
		}
	}
	m, name, was := live.Own(), tx.target.name(), tx.state.Installed
	tx.describe(live.SHA256, m, len(live.Plain), record.Lines(live.Plain))
	if tx.target.Diff {
		tx.result.New = live.Plain
	}
	if live.SHA256 == tx.disk.sha { // a raw value, or another process changed one of them
		return tx.keep(ctx, live)
	}
	now := tx.originOf(live.SHA256, m)
	if m != nil && was.Lineage != "" && was.Key == name && was.Lineage != m.Lineage {
		tx.result.note("%s was deleted and created again: %s replaces %s of another lineage", name, now.describe(), was.describe())
	}
	switch {
	case tx.target.DryRun:
		tx.result.Action = WouldInstall
		return nil
	case tx.target.Postpone != nil && tx.offer == nil && tx.target.Postpone(live.SHA256):
		tx.result.Action = Postponed
		return nil
	}
	return tx.install(ctx, live.Plain, now)
}

// content is the live version with its bytes: from the caller's data, or from the store.
func (tx *transaction) content(ctx context.Context, promised record.Live) (record.Live, error) {
	if promised.State != "" { // a raw value
		return promised, nil
	}
	if live, ok := tx.fromData(ctx, promised); ok {
		return live, live.Installable(tx.target.MinLines)
	}
	if err := tx.Fault.Before(AtReadData); err != nil {
		return record.Live{}, err
	}
	return tx.live(ctx, kv.Default)
}

// older reports whether the live version is older than the last current one that was installed, which a candidate is not.
func (tx *transaction) older(live record.Live) bool {
	was := tx.state.Installed
	return was.Key == tx.target.name() && gate.Older(was.Lineage, was.current(), live.Own())
}

// confirmOlder asks the leader whether the store really went back. If the leader confirms, its version is installed. If it
// cannot be asked, the file is kept.
func (tx *transaction) confirmOlder(ctx context.Context) (record.Live, error) {
	was := tx.state.Installed
	live, err := tx.live(ctx, kv.Consistent)
	if err != nil {
		return live, fmt.Errorf("%s is older in the store than the installed %s, and that could not be confirmed: %w",
			tx.target.name(), was.describe(), err)
	}
	if !tx.older(live) {
		return live, nil
	}
	if tx.target.RefuseOlder {
		return live, &gate.Refusal{
			Reason: gate.WentBack, Key: tx.target.Key,
			Detail: fmt.Sprintf("the store went back from version %d to %d, and refuse_older is set",
				was.current(), live.Manifest.Version),
			Remedy: gate.Again(tx.target.Key) + ", or remove refuse_older; the file stays as it is",
		}
	}
	tx.result.note("the store went back from %d to %d: %s follows it", was.current(), live.Manifest.Version, tx.target.File)
	return live, nil
}

func (tx *transaction) describe(sha string, m *kv.Manifest, size, lines int) {
	tx.result.SHA256, tx.result.Size, tx.result.Lines = sha, size, lines
	if m != nil {
		tx.result.Lineage, tx.result.Version = m.Lineage, m.Version
	}
}
