package fleet

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"kvexpress/internal/kv"
	"kvexpress/internal/outcome"
	"kvexpress/internal/record"
	"kvexpress/internal/safetext"
)

// Format is the newest format of receipts that this program knows.
const Format = 1

// Limits of a receipt. A node writes no larger one, and what is larger in the store
// is not read.
const (
	// MaxStored is the most bytes of a receipt as it is stored.
	MaxStored = 64 << 10
	// MaxTargets is how many targets one has.
	MaxTargets = 4096
	// MaxDetail is the longest text that explains a target's state, in bytes.
	MaxDetail = 512
	// maxVersion is the longest version of a program, in bytes, maxFile the longest name of a
	// file, which is that of Linux, and maxWord the longest of all other words.
	maxVersion, maxFile, maxWord = 128, 4096, 64
	// packFrom is the size in bytes from which a receipt is compressed.
	packFrom = 4 << 10
	// maxPlain is the most bytes of a receipt once decompressed.
	maxPlain = 4 << 20
	// MaxDecoded is the most bytes that all receipts may take in the memory of a reader, and
	// targetSize what a target does beside its texts.
	MaxDecoded = 64 << 20
	targetSize = 256
)

// ErrReceipt is a receipt that cannot be read, or speaks of another node than that
// under whose name it stands.
var ErrReceipt = errors.New("the receipt is not sound")

// Receipt is what a node says of itself: one value in the store. There is one reading
// of the node's clock in it, Sent; all else that is about time is a length, measured
// by the node's monotonic clock. So a clock that is wrong does harm in one place only.
type Receipt struct {
	Format int       `json:"format"`
	Node   string    `json:"node"`
	Host   string    `json:"host,omitempty"` // the operating system's host name, if it is another: locks go by it
	Sent   time.Time `json:"sent"`           // by the node's clock, just before it was written
	// ClockOffset is by how many milliseconds that clock is ahead of the store's; nil: it
	// is not known.
	ClockOffset *int64 `json:"clock_offset_ms,omitempty"`
	Agent       *Agent `json:"agent,omitempty"`
	// Lost is the index of an earlier receipt of the node that the store does not have any more: a snapshot
	// was restored, and all that has a lower index was written before that. 0: none was lost.
	Lost uint64 `json:"lost_index,omitempty"`
	// Targets are the files of the node, sorted by their names.
	Targets []Target `json:"targets"`
	// Edited: somebody else dropped targets of it. When the row was written says nothing of
	// when the node sent it.
	Edited bool `json:"edited,omitempty"`
	// Omitted is how many targets there was no room for.
	Omitted int `json:"omitted,omitempty"`
}

// Agent is what a node's agent says of itself, nil on a node without.
type Agent struct {
	Version string `json:"version"`  // of the program
	Every   Millis `json:"every_ms"` // it promises a receipt at least as often
	Age     Millis `json:"age_ms"`   // how long before Sent it wrote
	// Outage is the last time that the node could not reach the store.
	Outage *Outage `json:"outage,omitempty"`
}

// Outage is a time without the store.
type Outage struct {
	Lasted Millis `json:"lasted_ms"`
	Ended  Millis `json:"ended_ms"` // how long before Sent
}

// Who wrote what is said of a target.
const (
	ByAgent = "agent"
	ByOut   = "out"
)

// Target is one file of a node.
type Target struct {
	By   string `json:"by"` // ByAgent or ByOut
	Key  string `json:"key"`
	File string `json:"file"`
	// What is in place. Version is 0 for what kvexpress 1.x wrote, and all are
	// empty before anything is known.
	Lineage string `json:"lineage,omitempty"`
	Version uint64 `json:"version,omitempty"`
	SHA256  string `json:"sha256,omitempty"`
	// Outcome is one of outcome.Reported, Since for how long before Sent, and Detail why, in one line.
	Outcome outcome.Outcome `json:"outcome"`
	Since   Millis          `json:"since_ms"`
	Reason  string          `json:"reason,omitempty"` // with "refused": a word of gate.Reason
	Detail  string          `json:"detail,omitempty"`
	// ExecPending: the exec has not succeeded yet for what is in place.
	ExecPending bool  `json:"exec_pending,omitempty"`
	Exec        *Exec `json:"exec,omitempty"` // the last one; nil if none ran
	// Placed is how the version came to be in place; nil if it was there already.
	Placed *Placed `json:"placed,omitempty"`
}

// Exec is how an exec ended.
type Exec struct {
	Exit     int `json:"exit"` // -1: a signal ended it
	Failures int `json:"failures,omitempty"`
}

// Placed is how a version was installed.
type Placed struct {
	Age   Millis `json:"age_ms"`          // how long before Sent it was in place
	First bool   `json:"first,omitempty"` // the node was new to the key, and found it published
	Steps Steps  `json:"steps_ms"`
}

// Steps is how long each step of an install took on the node.
type Steps struct {
	Wait    Millis `json:"wait,omitempty"`    // from the change in the store, with spread, to the start of the install
	Install Millis `json:"install,omitempty"` // from there to the file in place
	Exec    Millis `json:"exec,omitempty"`
}

// InPlace is how long it took from the news to the file in place.
func (s Steps) InPlace() time.Duration {
	return time.Duration(s.Wait + s.Install)
}

// Millis is a length of time that is written as milliseconds, with three decimals.
type Millis time.Duration

// MarshalJSON implements json.Marshaler.
func (m Millis) MarshalJSON() ([]byte, error) {
	return json.Marshal(float64(possible(time.Duration(m)).Round(time.Microsecond)) / float64(time.Millisecond))
}

// UnmarshalJSON implements json.Unmarshaler. Nothing is negative, or longer than a
// century: a receipt may come from anybody.
//
// There are many of them in a receipt, and a parser for each took a tenth of a status.
func (m *Millis) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	f, err := strconv.ParseFloat(string(b), 64)
	if err != nil || f < 0 || f > float64(century/time.Millisecond) {
		return fmt.Errorf("%s is no length of time", b)
	}
	*m = Millis(math.Round(f * float64(time.Millisecond)))
	return nil
}

const century = 100 * 365 * 24 * time.Hour

// possible is a length that can be read again: a clock that was set may give others.
func possible(d time.Duration) time.Duration { return min(max(d, 0), century) }

// Marshal is the receipt as it is stored, with its KV flags. What does not fit into
// MaxStored is left out: first texts and steps, then targets.
func (r Receipt) Marshal() (value []byte, flags uint64, err error) {
	r.Format = Format
	if r.Agent != nil {
		a := *r.Agent
		a.Version = safetext.Cut(a.Version, maxVersion)
		r.Agent = &a
	}
	r.Targets = slices.Clone(r.Targets)
	for i := range r.Targets {
		r.Targets[i].Detail = safetext.Cut(r.Targets[i].Detail, MaxDetail)
	}
	if extra := len(r.Targets) - MaxTargets; extra > 0 {
		r.Targets, r.Omitted = r.Targets[:MaxTargets], r.Omitted+extra
	}
	for brief := false; ; brief = true {
		value, flags, err = r.encode()
		switch {
		case err != nil, len(value) <= MaxStored:
			return value, flags, err
		case !brief:
			for i, t := range r.Targets {
				r.Targets[i].Detail = ""
				if t.Placed != nil {
					r.Targets[i].Placed = &Placed{Age: t.Placed.Age, First: t.Placed.First}
				}
			}
		case len(r.Targets) == 0:
			return nil, 0, fmt.Errorf("the receipt of %s has %d bytes without any target, at most %d are allowed", kv.Quote(r.Node),
				len(value), MaxStored)
		default:
			keep := len(r.Targets) * 3 / 4
			r.Omitted += len(r.Targets) - keep
			r.Targets = r.Targets[:keep]
		}
	}
}

func (r Receipt) encode() ([]byte, uint64, error) {
	b, err := json.Marshal(r)
	if err != nil {
		return nil, 0, fmt.Errorf("encode the receipt of %s: %w", r.Node, err)
	}
	if len(b) < packFrom {
		return b, record.Plain.Flags(), nil
	}
	packed, err := record.Pack(b)
	return packed, record.Zstd.Flags(), err
}

// ParseReceipt reads what is stored under a node's name. Unknown fields are ignored.
// The error wraps ErrReceipt.
func ParseReceipt(node string, value []byte, flags uint64) (Receipt, error) {
	r, _, err := parseReceipt(node, value, flags, maxPlain)
	return r, err
}

// parseReceipt is ParseReceipt for one of at most so many bytes once decompressed, else the error
// wraps record.ErrTooBig. size is what it takes in memory, about.
func parseReceipt(node string, value []byte, flags uint64, most int) (r Receipt, size int64, err error) {
	bad := func(format string, args ...any) (Receipt, int64, error) {
		return Receipt{}, 0, fmt.Errorf("%w: %s", ErrReceipt, safetext.Cut(fmt.Sprintf(format, args...), MaxDetail))
	}
	if len(value) > MaxStored {
		return bad("it has %d bytes, at most %d are read", len(value), MaxStored)
	}
	e, err := record.FromFlags(flags)
	if err != nil {
		return bad("%v", err)
	}
	plain, err := record.DecodeUpTo(e, value, most)
	if errors.Is(err, record.ErrTooBig) {
		return Receipt{}, 0, fmt.Errorf("%w: %w", ErrReceipt, err)
	} else if err != nil {
		return bad("%v", err)
	}
	r, err = decode(plain)
	switch {
	case err != nil:
		return bad("%v", err)
	case len(r.Targets) > MaxTargets:
		return bad("it has %d targets, at most %d are read", len(r.Targets), MaxTargets)
	case r.Format < 1:
		return bad("it has no format")
	case r.Format > Format:
		return bad("its format is %d, this program knows up to %d: use the newer one", r.Format, Format)
	case r.Node != node:
		return bad("it speaks of %s", kv.Quote(r.Node))
	case r.Sent.IsZero():
		return bad("it does not say when it was sent")
	case r.Omitted < 0:
		return bad("it has %d omitted targets", r.Omitted)
	}
	r.shorten()
	return r, int64(len(plain)) + int64(len(r.Targets))*targetSize, nil
}

// shorten cuts all texts of a receipt that came from the store. No honest node writes longer
// ones.
func (r *Receipt) shorten() {
	short := func(s *string, most int) { *s = safetext.Cut(*s, most) }
	short(&r.Host, kv.MaxNodeLen)
	if r.Agent != nil {
		short(&r.Agent.Version, maxVersion)
	}
	for i := range r.Targets {
		t := &r.Targets[i]
		short(&t.Key, kv.MaxKeyLen)
		short(&t.File, maxFile)
		short(&t.Detail, MaxDetail)
		for _, word := range []*string{&t.By, &t.Lineage, &t.SHA256, (*string)(&t.Outcome), &t.Reason} {
			short(word, maxWord)
		}
	}
}

// smallPlain is the size in bytes up to which a receipt is read at once. Of a larger
// one the targets are counted while they are read, at twice the cost.
const smallPlain = 16 << 10

func decode(plain []byte) (r Receipt, err error) {
	if len(plain) <= smallPlain {
		err = json.Unmarshal(plain, &r)
		return r, err
	}
	var read struct {
		Receipt
		Targets targetList `json:"targets"` // in the place of the other
	}
	err = json.Unmarshal(plain, &read)
	r = read.Receipt
	r.Targets = read.Targets
	return r, err
}

// targetList is read one by one: a short value can hold a million of them.
type targetList []Target

// UnmarshalJSON implements json.Unmarshaler.
func (l *targetList) UnmarshalJSON(b []byte) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	switch begin, err := dec.Token(); {
	case err != nil:
		return err
	case begin == nil:
		return nil
	case begin != json.Delim('['):
		return errors.New("the targets are no list")
	}
	all := []Target{}
	for dec.More() {
		if len(all) == MaxTargets {
			return fmt.Errorf("it has more than %d targets", MaxTargets)
		}
		var t Target
		if err := dec.Decode(&t); err != nil {
			return err
		}
		all = append(all, t)
	}
	*l = all
	return nil
}
