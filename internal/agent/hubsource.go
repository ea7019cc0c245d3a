package agent

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"kvexpress/internal/config"
	"kvexpress/internal/fleet"
	"kvexpress/internal/kv"
	"kvexpress/internal/wire"
)

// confirmTime is how long a read waits for a hub, also for one that is being looked for.
const confirmTime = time.Second

// Uplink reaches the hubs of a configuration.
type Uplink struct {
	// Dial connects to a hub. A token is sent only over the connection that it returns.
	Dial func(ctx context.Context, addr string) (wire.Conn, error)
	// Token reads the node's token; "" is none.
	Token func() (string, error)
}

// hubSource is the source that follows hubs: one connection for all targets. A hub pushes snapshots of keys. What no hub
// answers, the store is asked itself, unless the configuration forbids it.
type hubSource struct {
	direct  *storeSource
	config  config.Hubs
	layout  kv.Layout
	host    string
	log     *slog.Logger
	order   []string        // addresses, the preferred one first
	random  func() float64  // from 0 to 1
	news    chan<- struct{} // the reporter must tell another hub, or the store
	stirred chan struct{}   // holds one: reportHealth has something to do
	// reloaded holds one: the configuration, or a file that it names, may have changed.
	reloaded chan struct{}
	node     string

	mu      sync.Mutex
	uplink  Uplink
	about   wire.Hello // without token and targets
	targets []*target
	output  bool // of failed commands is sent
	keys    map[kv.Key]*hubKey
	session *session      // nil: no hub is connected
	changed chan struct{} // closed, and replaced, when session changes
	giveUp  *time.Timer   // runs while no hub is connected
	away    bool          // no hub has been connected for long
	onStore bool          // targets follow the store
	err     error         // why no hub is connected
	contact time.Time     // when a hub last confirmed the store's state; zero: never
	brought int           // bytes of data in snapshots that targets have not worked off
}

var _ source = (*hubSource)(nil)

// hubKey is the newest snapshot of a key, without its data.
type hubKey struct {
	subs []*hubSub

	rows  kv.Snapshot // nil: there is none
	at    time.Time   // when the leader was read, or before
	from  *session
	clock int64 // of that hub, when the leader was read

	offer offering

	asked time.Time // when the last read began that the store answered itself: older rows count no more
}

func newHubSource(c config.Config, o Options, direct *storeSource) *hubSource {
	random := o.Random
	if random == nil {
		random = rand.Float64
	}
	return &hubSource{
		direct: direct, config: c.Hubs, layout: c.Layout, host: o.Host, log: o.Log, node: c.Node,
		order: preferred(c.Node, c.Hubs.Addrs), random: random,
		about: wire.Hello{
			Version: o.Version, Node: c.Node, Host: o.Host, Prefix: c.Layout.Prefix(), Datacenter: c.Store.Datacenter, Labels: c.Labels,
			Rollouts: true,
		},
		keys: map[kv.Key]*hubKey{}, changed: make(chan struct{}), reloaded: make(chan struct{}, 1),
		stirred: make(chan struct{}, 1),
		err:     errors.New("no hub has answered yet"),
	}
}

// Addr implements source: remedies name the store.
func (h *hubSource) Addr() string { return h.direct.Addr() }

// Offset implements kv.Clock.
func (h *hubSource) Offset() (time.Duration, bool) { return h.direct.Offset() }

// unreachable implements source. While the agent looks for a hub, it is nil: a reconcile that is due asks the store.
func (h *hubSource) unreachable() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.onStore:
		return h.direct.unreachable()
	case h.away:
		return h.noHub()
	}
	return nil
}

// noHub is the error while no hub is connected; mu is held.
func (h *hubSource) noHub() error {
	return &kv.StoreError{Op: "ask a hub", Addr: strings.Join(h.order, ", "), Kind: kv.ErrUnreachable, Cause: h.err}
}

// Read implements source. It answers from a snapshot of the last wire.Fresh; else the hub reads the store again; if no hub
// answers within confirmTime, it asks the store itself.
func (h *hubSource) Read(ctx context.Context, c kv.Consistency, paths ...string) (kv.Snapshot, error) {
	k, data := keyOf(h.layout, paths)
	h.mu.Lock()
	onStore, held := h.onStore, h.keys[k]
	fresh := held != nil && time.Since(held.at) <= wire.Fresh && held.at.After(held.asked)
	if fresh && c == kv.Default && !data && hasAll(held.rows, paths) {
		defer h.mu.Unlock()
		return held.rows, nil
	}
	h.mu.Unlock()
	var err error = &kv.StoreError{Op: "read " + paths[0], Kind: kv.ErrUnreachable, Says: "a hub has keys only, and direct is false"}
	if !onStore && k != "" {
		var rows kv.Snapshot
		rows, err = h.confirm(ctx, wire.Confirm{Key: string(k), Data: data, Consistent: c == kv.Consistent}, paths)
		if err == nil || errors.Is(err, kv.ErrDenied) || ctx.Err() != nil {
			return rows, err
		}
	}
	if !h.config.Direct {
		return nil, err
	}
	began := time.Now()
	rows, err := h.direct.Read(ctx, c, paths...)
	if held != nil && err == nil {
		h.mu.Lock()
		defer h.mu.Unlock()
		held.asked = later(held.asked, began)
	}
	return rows, err
}

// confirm asks the hub for a snapshot from after the call.
func (h *hubSource) confirm(ctx context.Context, question wire.Confirm, paths []string) (kv.Snapshot, error) {
	limited, cancel := context.WithTimeoutCause(ctx, confirmTime, errNoAnswer)
	defer cancel()
	for {
		s, err := h.await(limited)
		if err != nil {
			return nil, err
		}
		if !s.names(kv.Key(question.Key), paths) {
			h.greet() // a link leads elsewhere now
		}
		rows, err := s.ask(limited, question)
		switch {
		case errors.Is(err, errOver) && limited.Err() == nil:
			continue // another hub may be connected
		case err == nil && !hasAll(rows, paths):
			err = h.failed(question.Key, s.addr, wire.Unreachable, "it does not know all locks of the file yet")
		}
		return rows, err
	}
}

// errNoAnswer is why a wait for a hub ends.
var errNoAnswer = errors.New("no answer within " + confirmTime.String())

// await returns the connected hub, and waits for one.
func (h *hubSource) await(ctx context.Context) (*session, error) {
	for {
		h.mu.Lock()
		s, changed, err := h.session, h.changed, h.noHub()
		h.mu.Unlock()
		if s != nil {
			return s, nil
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-changed:
		}
	}
}

// keyOf is the key of the rows that an install reads; "" if they are not of one key. data: its data is among them.
func keyOf(l kv.Layout, paths []string) (k kv.Key, data bool) {
	for _, path := range paths {
		of, row, ok := l.KeyOf(path)
		if rolled, is := strings.CutPrefix(path, l.RolloutsDir()); is {
			of, ok = kv.Key(rolled), true
		}
		switch {
		case !ok:
			if _, _, lock := l.LockOf(path); !lock {
				return "", false
			}
		case k != "" && of != k:
			return "", false
		default:
			k, data = of, data || row == wire.DataRow
		}
	}
	return k, data
}

func hasAll(rows kv.Snapshot, paths []string) bool {
	for _, path := range paths {
		if _, has := rows[path]; !has {
			return false
		}
	}
	return true
}

// status is the state of the connection, and when the node last had contact; nil: never.
func (h *hubSource) status() (*HubStatus, *time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := &HubStatus{Addrs: h.order, Direct: h.onStore}
	contact := h.contact
	if c := h.session; c != nil {
		s.Addr, s.Since, s.Age = c.addr, &c.since, fleet.Millis(time.Since(c.confirmed))
		contact = c.confirmed
	} else if h.err != nil {
		s.Error = oneLine(h.err.Error())
	}
	if h.onStore {
		if direct := h.direct.contact(); direct != nil {
			contact = later(contact, *direct)
		}
	}
	if contact.IsZero() {
		return s, nil
	}
	return s, &contact
}
