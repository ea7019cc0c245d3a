package publish

import (
	"errors"
	"fmt"
	"strings"

	"kvexpress/internal/kv"
	"kvexpress/internal/record"
)

// Conflict is a publish that others were in the way of. Nothing was published.
// It wraps kv.ErrConflict.
type Conflict struct {
	Key      kv.Key
	Attempts int // how often the race was lost

	// IfVersion is the version that was asked for, nil if none was; Current the
	// one that stands, nil where it is not known.
	IfVersion *uint64
	Current   *uint64
}

func (c *Conflict) Error() string {
	if c.IfVersion == nil {
		return fmt.Sprintf("%s: lost the race %d times; others keep changing it: run it again", c.Key, c.Attempts)
	}
	const remedy = "look at what stands, then run it again with that version"
	switch {
	case c.Current == nil:
		return fmt.Sprintf("%s: --if-version %d does not hold: its manifest is damaged, and tells no version; publish without "+
			"--if-version heals it", c.Key, *c.IfVersion)
	case *c.Current == *c.IfVersion:
		return fmt.Sprintf("%s: --if-version %d: another writer came in between; %s", c.Key, *c.IfVersion, remedy)
	case *c.Current == 0:
		return fmt.Sprintf("%s: --if-version %d does not hold: no managed version stands; %s", c.Key, *c.IfVersion, remedy)
	}
	return fmt.Sprintf("%s: --if-version %d does not hold: version %d stands; %s", c.Key, *c.IfVersion, *c.Current, remedy)
}

func (c *Conflict) Unwrap() error { return kv.ErrConflict }

// ifVersion holds req.IfVersion against what stands. After a lost race it
// never holds: the caller asked to be told, not to be put on top.
func ifVersion(req Request, s record.Live, before *lostError) error {
	if req.IfVersion == nil {
		return nil
	}
	current, known := s.Version()
	raced := before != nil && !before.store && before.rival == 0
	same := req.IfSHA256 == "" || req.IfSHA256 == s.SHA256
	if known && current == *req.IfVersion && same && !raced {
		return nil
	}
	c := &Conflict{Key: req.Key, IfVersion: req.IfVersion}
	if known {
		c.Current = &current
	}
	if raced {
		c.Attempts = 1
	}
	return c
}

// lostError ends one attempt, with nothing published. The next may do better.
type lostError struct {
	cause error
	store bool // not others were in the way, but the store failed
	// rival is the Index of a history entry that another publisher put there
	// for the same version: he may be about to flip, or dead. 0: none.
	rival uint64
}

func (e *lostError) Error() string { return e.cause.Error() }

func asLost(err error) *lostError {
	var lost *lostError
	errors.As(err, &lost)
	return lost
}

// final is the error when there is no further attempt.
func (e *lostError) final(k kv.Key, attempts int) error {
	if !e.store {
		return &Conflict{Key: k, Attempts: attempts}
	}
	// The cause stays as text alone: it may speak of an unknown outcome, which
	// is that of the history entry, not of the publish.
	return fmt.Errorf("publish %s: its history could not be written, so nothing was published: %w: %s", k, kv.ErrUnreachable,
		e.cause.Error())
}

// UnknownError is a publish that was sent, and it could not be found out whether
// it was applied. It wraps kv.ErrUnknownOutcome and its cause.
type UnknownError struct {
	Version   uint64
	PublishID string
	Paths     []string // the manifests in which the id stands if it was applied
	Cause     error
}

func (e *UnknownError) Error() string {
	return fmt.Sprintf("version %d was sent, and may or may not stand: it does if publish id %s is in %s; look there once the "+
		"store answers, or run it again, which is safe: %v",
		e.Version, e.PublishID, strings.Join(e.Paths, " or "), e.Cause)
}

func (e *UnknownError) Unwrap() []error { return []error{kv.ErrUnknownOutcome, e.Cause} }
