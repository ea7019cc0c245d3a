package install

import (
	"context"
	"errors"

	"kvexpress/internal/kv"
	"kvexpress/internal/rollout"
)

// ErrWithdrawn: the candidate was withdrawn, promoted or replaced while its install ran. The file stays as it is; the next
// install reads what is current.
var ErrWithdrawn = errors.New("its candidate is not offered any more")

// Failure is the first failure of a candidate on this node, which is final.
type Failure struct {
	Rollout string `json:"rollout"` // its ID
	Reason  string `json:"reason"`
	Detail  string `json:"detail"` // one line, without output of commands
}

// Provisional returns the ID of the rollout whose candidate the target's file is, and the last candidate that failed; "" and nil:
// none. Nothing is asked or changed.
func (d *Installer) Provisional(t Target) (id string, failed *Failure, err error) {
	tx, err := d.begin(t)
	if err != nil {
		return "", nil, err
	}
	defer func() { err = errors.Join(err, tx.close()) }()
	if err = tx.readDisk(); err != nil {
		return "", nil, err
	}
	return tx.result.Provisional, tx.state.Failed, nil
}

// NoteFailed notes in the state that a candidate failed, so that it is not tried again after a restart. It waits for another
// process that works on the target, until ctx ends.
func (d *Installer) NoteFailed(ctx context.Context, t Target, f Failure) (err error) {
	tx, err := d.begin(t)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tx.close()) }()
	if err = tx.lock(ctx); err != nil {
		return err
	}
	if err = tx.readDisk(); err != nil {
		return err
	}
	tx.state.Failed = &f
	return tx.state.save(false)
}

// paths are the rows that are read beside those of the key: locks, and the rollout if its candidate is in place.
func (tx *transaction) paths() []string {
	if tx.target.Raw != "" || tx.offer == nil && tx.state.of(tx.disk.sha).Rollout == "" {
		return tx.locks
	}
	return append([]string{tx.Layout.Rollout(tx.target.Key)}, tx.locks...)
}

// offered notes of which rollout the rows are. A hub puts an Offer beside the rows of a candidate. The store itself has the
// current version, and the rollout. sha is of the version in the rows.
func (tx *transaction) offered(rows kv.Snapshot, sha string) {
	tx.offer, tx.undecided, tx.result.Offered = nil, false, ""
	row, read := rows[tx.Layout.Rollout(tx.target.Key)]
	if !read {
		return
	}
	if tx.offer = rollout.ParseOffer(row); tx.offer != nil {
		tx.result.Offered = tx.offer.ID
		return
	}
	was := tx.state.of(tx.disk.sha)
	tx.undecided = was.Rollout != "" && sha == was.BaseSHA256 && (row.State == kv.Denied || tx.open(row, was.Rollout))
}

// open reports whether the row of the store is of this rollout, which is not over.
func (tx *transaction) open(row kv.Entry, id string) bool {
	r, err := rollout.ParseRow(tx.target.Key, row)
	return err == nil && r != nil && r.ID == id && r.State.Offers()
}

// leaves reports whether the file is left alone: its candidate is in place while the rollout is open, but not for this reader; or
// the caller wants no more of a candidate.
func (tx *transaction) leaves() bool {
	return tx.undecided || tx.offer != nil && tx.target.Candidate != nil && !tx.target.Candidate(tx.offer.ID)
}

// leave describes the file, which stays as it is.
func (tx *transaction) leave() error {
	was := tx.state.of(tx.disk.sha)
	r := &tx.result
	r.Action, r.Lineage, r.Version, r.SHA256 = Kept, was.Lineage, was.Version, was.SHA256
	r.Size, r.Lines = tx.disk.size, tx.disk.lines
	r.ExecPending = len(tx.target.Exec) > 0 && tx.state.found && tx.state.pending(tx.disk.sha)
	return nil
}

// stillOffered is ErrWithdrawn if the candidate that is installed is not offered any more.
func (tx *transaction) stillOffered(rows kv.Snapshot) error {
	if tx.offer == nil {
		return nil
	}
	row := rows[tx.Layout.Rollout(tx.target.Key)]
	if o := rollout.ParseOffer(row); o != nil && o.ID == tx.offer.ID || o == nil && tx.open(row, tx.offer.ID) {
		return nil
	}
	return ErrWithdrawn
}

// whileOffered is a context that ends, with ErrWithdrawn, when the caller learns that the candidate is withdrawn.
func (tx *transaction) whileOffered(ctx context.Context) (context.Context, context.CancelFunc) {
	if tx.offer == nil || tx.target.Withdrawn == nil {
		return ctx, func() {}
	}
	withdrawn := tx.target.Withdrawn(tx.offer.ID)
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-withdrawn:
			cancel(ErrWithdrawn)
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}
