package record

import (
	"fmt"
	"slices"
	"strings"

	"kvexpress/internal/gate"
	"kvexpress/internal/kv"
)

// NotKept is a version that the store does not have, or no longer has.
type NotKept struct {
	Key  kv.Key
	What string   // which one, and why
	Kept []uint64 // the versions that can be had, newest first
}

func (e *NotKept) Error() string {
	kept := "none is kept"
	switch len(e.Kept) {
	case 0:
	case 1:
		kept = fmt.Sprintf("version %d is kept", e.Kept[0])
	default:
		kept = "kept are " + spans(e.Kept)
	}
	return fmt.Sprintf("%s: %s; %s, see `kvexpress history -k %s`", e.Key, e.What, kept, e.Key)
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
		r.Remedy = "name one that is whole: " + spans(kept)
	} else {
		r.Remedy = gate.Again(l.Key)
	}
	return r
}

// spans writes numbers in short: "4 to 13", "1, 2, 5 to 9".
func spans(numbers []uint64) string {
	sorted := slices.Sorted(slices.Values(numbers))
	var parts []string
	for i := 0; i < len(sorted); {
		end := i
		for end+1 < len(sorted) && sorted[end+1] == sorted[end]+1 {
			end++
		}
		if end-i > 1 {
			parts = append(parts, fmt.Sprintf("%d to %d", sorted[i], sorted[end]))
			i = end + 1
			continue
		}
		parts = append(parts, fmt.Sprint(sorted[i]))
		i++
	}
	return strings.Join(parts, ", ")
}
