package rollout

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"kvexpress/internal/gate"
	"kvexpress/internal/kv"
)

// Limits of a policy.
const (
	MaxPolicy   = 16 << 10 // bytes of the row
	MinVersions = 10       // fewer are never kept
	MaxVersions = 1000
	MaxDays     = 3650
	// maxHistory limits the versions of a key, in bytes, if a policy keeps more than MinVersions of them.
	maxHistory = 16 << 20
)

// format of the row. A higher one is refused.
const format = 1

// Policy has the rules for new versions of a key. They are for every publisher, whatever its flags say; stricter flags still
// count. The zero value has no rules.
type Policy struct {
	Plan
	Content        Content `json:"content,omitzero"`
	History        History `json:"history,omitzero"`
	RequireMessage bool    `json:"require_message,omitempty"` // a publish needs -m
}

// Content are the rules for the bytes.
type Content struct {
	MinLines  int          `json:"min_lines,omitempty"`
	MaxShrink gate.Percent `json:"max_shrink,omitzero"`
	MaxChange gate.Percent `json:"max_change,omitzero"`
}

// History says which versions are kept: a version goes if it is in neither.
type History struct {
	Versions int `json:"versions,omitempty"` // the newest; 0: MinVersions
	Days     int `json:"days,omitempty"`     // those published in the last days; 0: none for their age
}

// row is a policy in the store.
type row struct {
	Format int `json:"format"`
	Policy
}

// Marshal is the policy as a row of the store.
func (p Policy) Marshal() ([]byte, error) { return json.Marshal(row{format, p}) }

// Parse reads the row of a key; without one, the key has no rules. A policy that this version does not understand is a
// *gate.Refusal: to publish without its rules would be worse than not to publish. A denied row wraps kv.ErrDenied.
func Parse(k kv.Key, e kv.Entry) (Policy, error) {
	switch {
	case e.State == kv.Denied:
		return Policy{}, fmt.Errorf("%s: its policy cannot be read: %w", k, kv.ErrDenied)
	case e.State != kv.Present:
		return Policy{}, nil
	}
	var r row
	d := json.NewDecoder(bytes.NewReader(e.Value[:min(len(e.Value), MaxPolicy)]))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil || r.Format != format {
		return Policy{}, &gate.Refusal{
			Reason: gate.NeedsNewer, Key: k, Detail: "its policy has rules that this kvexpress does not know", Err: err,
			Remedy: fmt.Sprintf("update kvexpress here, or set the policy again with `kvexpress policy set -k %s --file FILE`", k),
		}
	}
	return r.Policy, nil
}

// Accept decides whether content of so many lines may be published with this message. The error is a *gate.Refusal. What the
// flags ask for is decided by gate.Publishable.
func (p Policy) Accept(k kv.Key, lines int, message string) error {
	see := fmt.Sprintf("`kvexpress policy show -k %s` shows its rules", k)
	switch {
	case lines < p.Content.MinLines:
		return &gate.Refusal{Reason: gate.TooShort, Key: k, Remedy: "check its source; " + see,
			Detail: fmt.Sprintf("it has %d lines; the minimum of its policy is %d", lines, p.Content.MinLines)}
	case p.RequireMessage && message == "":
		return &gate.Refusal{Reason: gate.NoMessage, Key: k, Remedy: "give one with -m",
			Detail: "its policy requires a message"}
	}
	return nil
}

// Limits are how much content may differ from the live version.
func (p Policy) Limits() gate.Limits {
	return gate.Limits{Shrink: p.Content.MaxShrink, Change: p.Content.MaxChange, Policy: true}
}

// Keep is how many versions are kept for their number, the live one included, if each has so many bytes in history.
func (h History) Keep(size int) int {
	return max(MinVersions, min(h.Versions, h.most(size)))
}

// Young reports whether a version is kept for its age, if there are so many newer ones of so many bytes.
func (h History) Young(published, now time.Time, newer, size int) bool {
	return h.Days > 0 && newer < h.most(size) && now.Sub(published) < time.Duration(h.Days)*24*time.Hour
}

// most is how many versions of this size are kept at most.
func (h History) most(size int) int { return min(MaxVersions, maxHistory/max(1, size)) }

// Lines are the policy as a policy.yml that says the same.
func (p Policy) Lines() []string {
	lines := p.lines()
	add := func(section, name, value string) {
		if value == "" || value == "0" {
			return
		}
		if !slices.Contains(lines, section) {
			lines = append(lines, section)
		}
		lines = append(lines, "  "+name+": "+value)
	}
	add("content:", "min_lines", strconv.Itoa(p.Content.MinLines))
	add("content:", "max_shrink", p.Content.MaxShrink.String())
	add("content:", "max_change", p.Content.MaxChange.String())
	add("history:", "versions", strconv.Itoa(p.History.Versions))
	add("history:", "days", strconv.Itoa(p.History.Days))
	if p.RequireMessage {
		lines = append(lines, "require_message: true")
	}
	return lines
}
