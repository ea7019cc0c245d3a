package rollout

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"kvexpress/internal/gate"
	"kvexpress/internal/kv"
	"kvexpress/internal/safetext"
)

// MaxRow limits the row of a rollout, in bytes.
const MaxRow = 2 << 10

// rowFormat of a row. A higher one is refused.
const rowFormat = 1

// State is where a rollout is. The words are a contract.
type State string

// The states of a rollout. The last four are its ends.
const (
	Running   State = "running"
	Paused    State = "paused"    // admits no node until a person, or the end of a stop, lets it go on
	Halted    State = "halted"    // it failed, and its nodes keep the candidate until a person decides
	Reverting State = "reverting" // its nodes install the current version again
	Promoted  State = "promoted"  // the candidate is the current version
	Reverted  State = "reverted"
	Aborted   State = "aborted"
	// Superseded: another version became current, or another rollout began.
	Superseded State = "superseded"
)

// Ended reports whether the rollout is over.
func (s State) Ended() bool {
	return s == Promoted || s == Reverted || s == Aborted || s == Superseded
}

// Offers reports whether admitted nodes get the candidate.
func (s State) Offers() bool { return s == Running || s == Paused || s == Halted }

// Row is the rollout of a key, as the store has it. It stays after its end. `in` and operators write it, and the hub that it
// names as its controller; each with check-and-set. It is newer than the one before if its ID differs, or its Counter is higher.
type Row struct {
	Format  int    `json:"format"`
	ID      string `json:"id"` // random, one for each rollout
	Key     kv.Key `json:"key"`
	Version uint64 `json:"version"` // the candidate
	SHA256  string `json:"sha256"`
	Base    Base   `json:"base"`
	Plan    Plan   `json:"plan"`    // of the policy when the rollout began
	By      string `json:"by"`      // user@host
	Started int64  `json:"started"` // Unix time, by the publisher's clock: for people

	State  State  `json:"state"`
	Reason string `json:"reason,omitempty"` // why it is in this state, for people; at most MaxWhy bytes
	// End is the state after Reverting: Reverted, Aborted or Superseded.
	End State `json:"end,omitempty"`

	Stage     int       `json:"stage"` // from 0; len(Plan.Stages) after the last
	Threshold Threshold `json:"threshold,omitzero"`
	Counted   int       `json:"counted"`  // nodes, fixed when the stage began
	Admitted  int       `json:"admitted"` // of them
	// AdmittedSum is a sum of the hashes of the admitted nodes: a new controller finds out by it who they are.
	AdmittedSum string `json:"admitted_sum,omitempty"`
	Go          int    `json:"go,omitempty"`   // an operator lets stages up to this one begin although they have PauseBefore
	Gate        string `json:"gate,omitempty"` // the gate that runs: claimed before it starts

	Controller string `json:"controller,omitempty"` // the hub that advances it; "": none yet
	Counter    uint64 `json:"counter"`              // rises with each write; the controller writes at least once a second
}

// MaxWhy limits the reason of a row, in bytes.
const MaxWhy = 256

// Base is the current version that the rollout began from.
type Base struct {
	Version uint64 `json:"version,omitempty"` // 0: none, or written by kvexpress 1.x
	SHA256  string `json:"sha256,omitempty"`  // "": the key did not exist
	// The indexes of its rows; 0: absent.
	Data     uint64 `json:"data"`
	Checksum uint64 `json:"checksum"`
	Manifest uint64 `json:"manifest"`
}

// Threshold is a position in the order of nodes: nodes up to it may be admitted. It only rises.
type Threshold struct {
	Stage int    `json:"stage"`
	Hash  string `json:"hash"` // "": no node of the stage
}

// After reports whether the position t is behind o.
func (t Threshold) After(o Threshold) bool {
	return t.Stage > o.Stage || t.Stage == o.Stage && t.Hash > o.Hash
}

// Place is the position of a node in the order of a rollout: by the first stage whose labels it has, else the last stage, and
// then by a hash of rollout and node.
func (r Row) Place(node string, labels map[string]string) Threshold {
	sum := sha256.Sum256([]byte(r.ID + "\x00" + node))
	return Threshold{Stage: r.Plan.first(labels), Hash: hex.EncodeToString(sum[:8])}
}

// sum adds the hash of a place to AdmittedSum, or takes it away.
func sum(was, hash string) string {
	a, _ := strconv.ParseUint(was, 16, 64) // 0 if it is not a number: it is compared, and nothing else
	b, _ := strconv.ParseUint(hash, 16, 64)
	return fmt.Sprintf("%016x", a^b)
}

// StageOf is the first stage, from 0, whose labels are all among these; -1: none.
func (p Plan) StageOf(labels map[string]string) int {
	return slices.IndexFunc(p.Stages, func(s Stage) bool { return len(s.Nodes) > 0 && s.has(labels) })
}

// first is the first stage whose labels are all among these, else the last stage.
func (p Plan) first(labels map[string]string) int {
	if i := p.StageOf(labels); i >= 0 {
		return i
	}
	return len(p.Stages) - 1
}

func (s Stage) has(labels map[string]string) bool {
	for name, value := range s.Nodes {
		if got, ok := labels[name]; !ok || got != value {
			return false
		}
	}
	return true
}

// Marshal is the row as it is stored. The error is that it has more than MaxRow bytes.
func (r Row) Marshal() ([]byte, error) {
	r.Format, r.Reason = rowFormat, safetext.Cut(r.Reason, MaxWhy)
	b, err := json.Marshal(r)
	if err == nil && len(b) > MaxRow {
		err = fmt.Errorf("the rollout of %s has %d bytes; at most %d are allowed: give its policy fewer stages or shorter labels",
			r.Key, len(b), MaxRow)
	}
	return b, err
}

// ParseRow reads the row of a key; nil if there is none. A row that this version does not understand is a *gate.Refusal. A denied
// row wraps kv.ErrDenied.
func ParseRow(k kv.Key, e kv.Entry) (*Row, error) {
	switch {
	case e.State == kv.Denied:
		return nil, fmt.Errorf("%s: its rollout cannot be read: %w", k, kv.ErrDenied)
	case e.State != kv.Present:
		return nil, nil
	}
	var r Row
	d := json.NewDecoder(bytes.NewReader(e.Value[:min(len(e.Value), 4*MaxRow)]))
	if err := d.Decode(&r); err != nil || r.Format != rowFormat || r.Key != k || r.ID == "" || !kv.IsSHA256(r.SHA256) ||
		r.Version == 0 || !r.within() {
		return nil, &gate.Refusal{
			Reason: gate.NeedsNewer, Key: k, Detail: "its rollout is damaged, or of a newer kvexpress", Err: err,
			Remedy: fmt.Sprintf("update kvexpress here, or end it with `kvexpress in -k %s --now -m WHY -f FILE`", k),
		}
	}
	return &r, nil
}

// within reports whether the row is within the limits of Step.
func (r Row) within() bool {
	n := len(r.Plan.Stages)
	known := r.State.Ended() || r.State.Offers() || r.State == Reverting
	return known && n > 0 && n <= MaxStages && len(r.Plan.Gates) <= MaxGates && r.Stage >= 0 && r.Stage <= n &&
		r.Admitted >= 0 && r.Admitted <= MaxNodes
}

// Elapsed is how long ago the rollout began, by the clocks of two machines: for people.
func (r Row) Elapsed(now time.Time) time.Duration { return max(0, now.Sub(time.Unix(r.Started, 0))) }

// Withdrawn is why a version is not to be published again: the row beside its manifest.
type Withdrawn struct {
	Rollout string   `json:"rollout"` // its ID
	Reason  string   `json:"reason"`
	Nodes   []string `json:"nodes,omitempty"` // that failed: at most MaxEvidence
	By      string   `json:"by"`              // the hub, or user@host
	Time    int64    `json:"time"`            // Unix time, by the clock of By
	// End of the rollout. The content of a Superseded one may be published again; "": it did not end well.
	End State `json:"end,omitempty"`
}

// ParseWithdrawn reads the row; nil if there is none. What cannot be read is a Withdrawn without a known reason.
func ParseWithdrawn(e kv.Entry) *Withdrawn {
	if e.State != kv.Present {
		return nil
	}
	var w Withdrawn
	if json.Unmarshal(e.Value[:min(len(e.Value), 4*MaxRow)], &w) != nil || w.Reason == "" {
		w.Reason = "its rollout did not end well"
	}
	w.Reason, w.By = safetext.Cut(w.Reason, MaxWhy), safetext.Cut(w.By, MaxWhy)
	w.Nodes = w.Nodes[:min(len(w.Nodes), MaxEvidence)]
	return &w
}

// MaxEvidence limits the nodes of a Withdrawn.
const MaxEvidence = 20

// OfferFlags mark a row that is not the store's Row: a hub puts an Offer into the snapshot of a node that gets the candidate,
// under the path of the rollout. Such a snapshot has the rows of the candidate in place of the current ones. Without an Offer, a
// snapshot of a hub has the current version.
const OfferFlags = 1

// Offer says that the rows beside it are of a candidate.
type Offer struct {
	ID   string `json:"id"`   // of the rollout
	Base Base   `json:"base"` // that the node goes back to
}

// Entry is the offer as a row.
func (o Offer) Entry() (kv.Entry, error) {
	b, err := json.Marshal(o)
	return kv.Entry{State: kv.Present, Value: b, Flags: OfferFlags}, err
}

// ParseOffer reads the row of a snapshot; nil if it is no Offer.
func ParseOffer(e kv.Entry) *Offer {
	var o Offer
	if e.State != kv.Present || e.Flags != OfferFlags || json.Unmarshal(e.Value, &o) != nil || o.ID == "" {
		return nil
	}
	return &o
}
