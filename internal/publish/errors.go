package publish

import (
	"errors"
	"fmt"
	"strings"

	"kvexpress/internal/kv"
)

// Conflict is a publish that lost to other publishers. Nothing was published.
// It wraps kv.ErrConflict.
type Conflict struct {
	Key      kv.Key
	Attempts int // how often the race was lost

	// IfVersion is the requested live version, nil if none was; Current the
	// live one, nil if it is not known.
	IfVersion *uint64
	Current   *uint64
	Pinned    bool   // a rollback set IfVersion, not a person
	Candidate uint64 // of the open rollout; 0: there is none
}

func (c *Conflict) Error() string {
	if c.IfVersion == nil {
		return fmt.Sprintf("%s: lost the race %d times: others keep publishing it; run it again", c.Key, c.Attempts)
	}
	const remedy = "check the live version, then run it again with its number"
	asked := fmt.Sprintf("%s: --if-version %d", c.Key, *c.IfVersion)
	switch {
	case c.Candidate > 0:
		return fmt.Sprintf("%s does not hold: version %d is being rolled out; see `kvexpress rollout status -k %s`", asked,
			c.Candidate, c.Key)
	case c.Pinned:
		return fmt.Sprintf("%s: another publisher changed it after the rollback read %s, so nothing was done; see `kvexpress "+
			"history -k %[1]s`, then run it again, or name a version with --to", c.Key, numbered(*c.IfVersion))
	case c.Current == nil:
		return asked + " does not hold: its manifest is damaged and tells no version; to heal it, publish without --if-version"
	case *c.Current == *c.IfVersion:
		return asked + ": another publisher was first; " + remedy
	}
	return fmt.Sprintf("%s does not hold: %s is live; %s", asked, numbered(*c.Current), remedy)
}

func numbered(version uint64) string {
	if version == 0 {
		return "no managed version"
	}
	return fmt.Sprintf("version %d", version)
}

func (c *Conflict) Unwrap() error { return kv.ErrConflict }

// ifVersion compares req.IfVersion with the live version. After a lost race it
// never holds: the caller wants to know, not to publish on top.
func ifVersion(req Request, s base, before *lostError) error {
	if req.IfVersion == nil {
		return nil
	}
	if r := s.open(); r != nil && !req.pinned {
		return &Conflict{Key: req.Key, IfVersion: req.IfVersion, Candidate: r.Version}
	}
	current, known := s.Version()
	raced := before != nil && !before.store && before.rival == 0
	same := req.IfSHA256 == "" || req.IfSHA256 == s.SHA256
	if known && current == *req.IfVersion && same && !raced {
		return nil
	}
	c := &Conflict{Key: req.Key, IfVersion: req.IfVersion, Pinned: req.pinned}
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
	store bool // the store failed, not another publisher was first
	// rival is the Index of a history entry that another publisher put there
	// for the same version: it may be about to promote, or dead. 0: none.
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
	// The cause stays as text alone: an unknown outcome in it is about the
	// history entry, not about the publish.
	return fmt.Errorf("publish %s: its history could not be written, so nothing was published: %w: %s", k, kv.ErrUnreachable,
		e.cause.Error())
}

// UnknownError is a publish that was sent; whether it was applied is unknown. It wraps kv.ErrUnknownOutcome and its cause.
type UnknownError struct {
	Version   uint64
	PublishID string
	Paths     []string // the manifests that have the id if it was applied
	Cause     error
}

func (e *UnknownError) Error() string {
	return fmt.Sprintf("outcome of version %d is unknown: it is published if publish id %s is in %s; running the same command "+
		"again is safe: %v",
		e.Version, e.PublishID, strings.Join(e.Paths, " or "), e.Cause)
}

func (e *UnknownError) Unwrap() []error { return []error{kv.ErrUnknownOutcome, e.Cause} }
