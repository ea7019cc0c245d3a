package record

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"kvexpress/internal/gate"
	"kvexpress/internal/kv"
)

// NotKept is a version that the store does not have, or no longer has.
type NotKept struct {
	Key  kv.Key
	What string   // which version, and why
	Kept []uint64 // the versions that can be had, newest first
}

func (e *NotKept) Error() string {
	kept := "no version is kept"
	if len(e.Kept) > 0 {
		kept = "kept versions: " + numbers(e.Kept)
	}
	return fmt.Sprintf("%s: %s; %s; see `kvexpress history -k %s`", e.Key, e.What, kept, e.Key)
}

func (l VersionList) notKept(what string) error {
	return &NotKept{Key: l.Key, What: what, Kept: l.Kept()}
}

// refuse is the error for a version that is in the store and cannot be used.
func (l VersionList) refuse(v Version) error {
	r := &gate.Refusal{Reason: gate.Corrupt, Key: l.Key,
		Detail: fmt.Sprintf("version %d in its history is damaged: %s", v.Number, v.Why)}
	switch {
	case v.Live:
		r.Detail = "the live version is damaged: " + v.Why
	case v.State == NeedsNewer:
		r.Reason, r.Detail = gate.NeedsNewer, fmt.Sprintf("version %d in its history: %s", v.Number, v.Why)
	}
	if kept := l.Kept(); len(kept) > 0 {
		r.Remedy = "name one that is whole: " + numbers(kept)
	} else {
		r.Remedy = gate.Again(l.Key)
	}
	return r
}

// numbers lists versions, which are the newest first, for people: "10, 12, 13".
func numbers(versions []uint64) string {
	var parts []string
	for _, n := range slices.Backward(versions) {
		parts = append(parts, strconv.FormatUint(n, 10))
	}
	return strings.Join(parts, ", ")
}

// NeverLive is content or a version whose rollout did not end well, or has not ended.
type NeverLive struct {
	Key     kv.Key
	Version uint64
	Why     string
	Remedy  string
}

func (e *NeverLive) Error() string {
	return fmt.Sprintf("%s: version %d was never live: %s; %s", e.Key, e.Version, e.Why, e.Remedy)
}

func neverLive(k kv.Key, v Version) error {
	e := &NeverLive{Key: k, Version: v.Number, Why: v.Why, Remedy: fmt.Sprintf("see `kvexpress rollout status -k %s`", k)}
	if v.State == Withdrawn {
		e.Remedy = fmt.Sprintf("`kvexpress show -k %s --version %d >FILE` and `kvexpress in -k %[1]s -f FILE --retry` "+
			"roll it out again", k, v.Number)
	}
	return e
}
