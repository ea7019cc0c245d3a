package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"kvexpress/internal/cli/render"
	"kvexpress/internal/fleet"
	"kvexpress/internal/gate"
	"kvexpress/internal/hold"
	"kvexpress/internal/kv"
	"kvexpress/internal/outcome"
)

type statusFlags struct {
	key  string
	node nodeValue
	all  bool
	wait waitFlags
}

func (a *App) newStatus(g *globals) *cobra.Command {
	var f statusFlags
	cmd := a.with(g, "status", uses(flagsStore, "hub json verbose"),
		func(ctx context.Context, s *session) (report, error) { return s.status(ctx, f) })
	fl := cmd.Flags()
	fl.StringVarP(&f.key, "key", "k", "", "`key` to show (default: all, a line each)")
	fl.Var(&f.node, "node", "show the files of this `node`, by its name or the name of its host")
	fl.BoolVar(&f.all, "all", false, "list all nodes that are not up to date (default: 20)")
	f.wait.register(fl, "the live version")
	return cmd
}

func (s *session) status(ctx context.Context, f statusFlags) (report, error) {
	if err := f.wait.check(); err != nil {
		return nil, err
	}
	if f.node.name != "" {
		if f.wait.asked() {
			return nil, errors.New("--wait is for all nodes; leave out --node or --wait")
		}
		return s.statusOfNode(ctx, f)
	}
	if f.key == "" {
		if f.wait.asked() {
			return nil, errors.New("--wait needs a key; name it with -k")
		}
		return s.statusOfAll(ctx, f)
	}
	k, err := s.key(f.key)
	if err != nil {
		return nil, err
	}
	r := &statusReport{all: f.all, colour: s.colour(), now: time.Now()}
	if !f.wait.asked() {
		if err := s.around(ctx, f, k, r); err != nil {
			return nil, err
		}
		return r, nil
	}
	var waited error
	r.Waited, waited = s.wait(ctx, f.wait, fleet.Goal{Key: k})
	if waited != nil && !as[*fleet.NotReached](waited) {
		return nil, waited
	}
	s.store = s.plain // the time is up: no more retries
	ctx, cancel := context.WithTimeout(ctx, aroundLimit)
	defer cancel()
	if err := s.around(ctx, f, k, r); err != nil {
		// The result of the wait is shown, whether or not more can be read.
		r.frozen = frozen{Stops: []hold.Stop{}, Locks: []lockRow{}, Hidden: s.guide().Explain(err)}
	}
	r.Report = r.Waited.Report
	return r, waited
}

// aroundLimit is the time limit of what status reads after a wait.
const aroundLimit = 3 * time.Second

// around fills in the report, the damage, and the stops and locks.
func (s *session) around(ctx context.Context, f statusFlags, k kv.Key, r *statusReport) error {
	reader := s.reader(s.store)
	roster, err := reader.Roster(ctx, 0, 0)
	if err != nil {
		return err
	}
	live, err := reader.One(ctx, roster, k)
	if err != nil {
		return err
	}
	r.Report = fleet.Examine(roster, live, fleet.Options{Expiry: f.wait.expiry})
	if err := r.verify(ctx, &reader, live); err != nil {
		return err
	}
	r.frozen, err = s.frozenFor(ctx, roster, live)
	if r.Hidden == "" {
		r.noteLifted()
	}
	return err
}

// maxVerified is how many bytes of data are read to verify them, of all keys.
const maxVerified = 64 << 20

// verified is the result of reading the data of keys.
type verified struct {
	Damaged    []unknownKey `json:"damaged,omitempty"`
	Unverified int          `json:"unverified,omitempty"` // keys whose data was not read
	read       int          // bytes
}

// verify reads and verifies the data of a key, up to maxVerified in all.
func (v *verified) verify(ctx context.Context, reader *fleet.Reader, live fleet.Live) error {
	if !live.Exists {
		return nil
	}
	if v.read > maxVerified {
		v.Unverified++
		return nil
	}
	once := len(v.Damaged) >= 3 // so many do not come from one writer of 1.x
	why, size, err := reader.Damage(ctx, live.Key, once)
	v.read += size
	switch {
	case errors.Is(err, kv.ErrDenied):
		v.Unverified++
	case as[*gate.Refusal](err):
		v.Damaged = append(v.Damaged, unknownKey{string(live.Key), render.Error(err)})
	case err != nil:
		return err
	case why != "":
		v.Damaged = append(v.Damaged, unknownKey{string(live.Key), why})
	}
	return nil
}

func (v *verified) lines(colour bool) []string {
	var lines []string
	for _, d := range v.Damaged {
		lines = append(lines, fmt.Sprintf("  %s is %s in the store: %s; nodes keep their files; publish it again with "+
			"`kvexpress in -k %[1]s -f FILE`", render.Line(d.Key), render.Paint(colour, render.Red, "damaged"), render.Line(d.Why)))
	}
	if v.Unverified > 0 {
		lines = append(lines, fmt.Sprintf("  the data of %s was not verified; `kvexpress status -k KEY` verifies one key, "+
			"with a token that can read it", render.Plural(v.Unverified, "key")))
	}
	return lines
}

// noteLifted explains nodes that still report a lock that is lifted. Lifting it wakes agents, but
// not Consul watches.
func (r *statusReport) noteLifted() {
	for i, l := range r.Stragglers {
		locked := slices.ContainsFunc(r.Locks, func(row lockRow) bool {
			return row.Node == l.Node || slices.Contains(row.Nodes, l.Node)
		})
		if l.Reported == outcome.Locked && !locked && l.By == fleet.ByOut {
			r.Stragglers[i].Detail = "unlocked, but `kvexpress out` has not run here since; run it, or publish the next version"
		}
	}
}

// statusOfAll is a line for each key that is published, or that a node reports.
func (s *session) statusOfAll(ctx context.Context, f statusFlags) (report, error) {
	reader := s.reader(s.store)
	roster, err := reader.Roster(ctx, 0, 0)
	if err != nil {
		return nil, err
	}
	found, err := kv.ListKeys(ctx, s.store, s.layout)
	if err != nil {
		return nil, err
	}
	keys, more := roster.Keys(found.Sorted("checksum"), maxReported)
	all, err := reader.Live(ctx, roster, keys...)
	if err != nil {
		return nil, err
	}
	r := &statusOfAllReport{Unknown: []unknownKey{}, Unread: []fleet.Unread{}, MoreKeys: more, Left: found.Left,
		now: time.Now(), colour: s.colour()}
	for _, n := range roster.Nodes {
		switch {
		case errors.Is(n.Err, fleet.ErrLeftOut):
			r.NodesLeft = append(r.NodesLeft, n.Name)
		case n.Err != nil:
			r.Unread = append(r.Unread, fleet.Unread{Node: n.Name, Why: n.Err.Error()})
		case n.Receipt.Omitted > 0:
			r.Omitted++
		}
	}
	for _, live := range all {
		if live.Err != nil {
			r.Unknown = append(r.Unknown, unknownKey{Key: string(live.Key), Why: s.guide().Explain(live.Err)})
		} else if err := r.verify(ctx, &reader, live); err != nil {
			return nil, err
		}
	}
	all = slices.DeleteFunc(all, func(l fleet.Live) bool { return l.Err != nil })
	r.Keys = fleet.ExamineAll(roster, all, fleet.Options{Expiry: f.wait.expiry})
	r.frozen, err = s.frozenAll(ctx, roster)
	return r, err
}

// maxReported is how many keys are shown that are reported but not published: a receipt can name any.
const maxReported = 100
