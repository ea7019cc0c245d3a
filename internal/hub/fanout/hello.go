package fanout

import (
	"cmp"
	"errors"
	"path"
	"slices"
	"strings"
	"time"

	"kvexpress/internal/kv"
	"kvexpress/internal/wire"
)

const (
	// maxKeys is how many keys the agents of a hub may follow, and maxSubs how many targets they may have in all.
	maxKeys, maxSubs = 20_000, 1_000_000
	// firstAtOnce is how many first snapshots of a hello are read at a time.
	firstAtOnce = 64
)

// hello accepts a hello: it checks names and rights, and sends a first snapshot of each key.
func (s *session) hello(h *wire.Hello) error {
	subs, err := s.f.subscriptions(h)
	if err != nil {
		return err
	}
	if names := s.conn.Names(); s.f.o.ByCertificate && !slices.Contains(names, h.Node) {
		return refuse(wire.Invalid, "the certificate of the agent is for %s, and its node is %s; set node in agent.yml, or give "+
			"the node a certificate of its own", kv.Quote(strings.Join(names, " ")), kv.Quote(h.Node))
	}
	denied, err := s.f.check(s.ctx, h.Token, h.Node, subs)
	if errors.Is(err, errToken) {
		return unknownToken(h.Node)
	} else if r := (*Refusal)(nil); errors.As(err, &r) {
		return r
	}
	rights := len(subs)
	if !s.f.o.ByCertificate {
		rights++ // the receipt counts, too
	}
	if h.Token == "" && rights > 0 && len(denied) == rights {
		return refuse(wire.Token, "the agent of %s sends no token, and without one it may do nothing; set token_file in agent.yml",
			h.Node)
	}
	return s.f.subscribe(s, h, subs, denied, err)
}

// subscribe makes a session a reader of its new subscriptions, in place of the old ones. Keys that both have stay in use. failed
// is why the rights could not be checked.
func (f *Fanout) subscribe(s *session, h *wire.Hello, subs map[kv.Key]*sub, denied denials, failed error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	fresh := 0
	for k := range subs {
		if f.byKey[k] == nil {
			fresh++
		}
	}
	if len(f.byKey)+fresh > maxKeys || f.subs+len(subs) > maxSubs {
		return refuse(wire.Busy, "the hub %s has no room for more targets", f.o.Name)
	}
	f.counts.Accepted++
	now := time.Now()
	welcome := wire.Welcome{Hub: f.o.Name, Version: f.o.Version, Now: f.clock(now), Agents: len(f.sessions),
		Age: f.o.Feed.Age().Milliseconds(), Receipts: f.o.Receipts != nil}

	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range subs {
		if old := s.subs[u.key]; old != nil && old.used {
			u.used, old.used = true, false
		}
	}
	f.unindex(s)
	s.hellos++
	s.token, s.node, s.subs, s.dirty, s.probe = h.Token, h.Node, subs, nil, h.Probe
	s.labels, s.rollouts = h.Labels, h.Rollouts
	f.subs += len(subs)
	if !h.Probe { // a dry run beside the node's agent is no second node
		add(f.byNode, h.Node, s)
	}
	for k, u := range subs {
		add(f.byKey, k, s)
		s.crew(k)
		for path := range u.files {
			if f.byLock[path] == nil {
				f.byLock[path] = map[*session]kv.Key{}
			}
			f.byLock[path][s] = k
		}
	}
	s.rights = rights{}
	s.checked(now, denied, failed)
	// What is sent from here on is of the new subscriptions: the agent takes a lock that it does not get for none.
	welcome.NoReceipts = s.noReceipts
	s.queue(wire.FromHub{Welcome: &welcome})
	s.follow()
	return nil
}

// follow reads the first snapshots of subscriptions that may be read now, and sends why others may not; mu is held. A key that
// no token may read costs the store nothing.
func (s *session) follow() {
	var begin []*sub
	for _, u := range s.subs {
		switch {
		case u.denied != "" && !u.told:
			u.told = true
			s.mark(u)
		case u.denied == "" && !u.begun && s.rights.failed == nil:
			u.begun = true
			begin = append(begin, u)
			if !u.used {
				u.used = true
				s.f.o.Feed.Use(u.key)
			}
		}
	}
	s.wake()
	if begin == nil {
		return
	}
	s.jobs.Go(func() {
		places := make(chan struct{}, firstAtOnce)
		for _, u := range begin {
			places <- struct{}{} // becomes free at the latest when the session ends
			s.jobs.Go(func() { s.first(u); <-places })
		}
	})
}

// first reads the first snapshot of a key: consistent, and begun after the hello. Until the store answers, the agent gets
// none, and keeps what it knows.
func (s *session) first(u *sub) {
	for n := 0; s.has(u); n++ {
		_, err := s.f.o.Feed.Confirm(s.ctx, u.key, kv.Consistent, false)
		if err == nil {
			s.mu.Lock()
			u.ready = true
			s.mu.Unlock()
			s.changed(u.key)
			return
		}
		if s.pause(n) != nil {
			return
		}
	}
}

// has reports whether a subscription is of the last hello.
func (s *session) has(u *sub) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.subs[u.key] == u
}

// subscriptions checks a hello, and returns what it asks for.
func (f *Fanout) subscriptions(h *wire.Hello) (map[kv.Key]*sub, error) {
	switch l, err := kv.NewLayout(h.Prefix); {
	case err != nil || l != f.o.Layout:
		return nil, refuse(wire.Invalid, "the hub has the prefix %s, and the agent %s; set prefix in agent.yml or hub.yml",
			kv.Quote(f.o.Layout.Prefix()), kv.Quote(h.Prefix))
	case h.Datacenter != "" && f.o.Datacenter == "":
		return nil, refuse(wire.Invalid,
			"the agent wants the datacenter %s, and this hub does not know its own; set datacenter in hub.yml",
			kv.Quote(h.Datacenter))
	case h.Datacenter != "" && h.Datacenter != f.o.Datacenter:
		return nil, refuse(wire.Invalid, "the hub is in the datacenter %s, and the agent in %s; check hubs in agent.yml",
			kv.Quote(f.o.Datacenter), kv.Quote(h.Datacenter))
	}
	if _, err := kv.ParseNode(h.Node); err != nil {
		return nil, refuse(wire.Invalid, "%v; set node in agent.yml", err)
	}
	if h.Host == "" || len(h.Host) > kv.MaxNodeLen || strings.ContainsAny(h.Host, "/\x00") {
		return nil, refuse(wire.Invalid, "the host name %s is not valid", kv.Quote(h.Host))
	}
	if len(h.Targets) > wire.MaxTargets {
		return nil, refuse(wire.Invalid, "the node has %d targets; a hub serves at most %d", len(h.Targets), wire.MaxTargets)
	}
	if err := checkLabels(h.Labels); err != nil {
		return nil, err
	}
	subs := map[kv.Key]*sub{}
	for _, t := range h.Targets {
		k, err := kv.ParseKey(t.Key)
		if err != nil || string(k) != t.Key {
			return nil, refuse(wire.Invalid, "%s is not the name of a key", kv.Quote(t.Key))
		}
		if len(t.Files) == 0 || len(t.Files) > maxFiles {
			return nil, refuse(wire.Invalid, "the target of %s has %d paths; it must have 1 to %d", t.Key, len(t.Files), maxFiles)
		}
		if t.SHA256 != "" && !kv.IsSHA256(t.SHA256) {
			return nil, refuse(wire.Invalid, "the target of %s has no valid SHA-256", t.Key)
		}
		if len(t.Rollout) > wire.MaxLabel {
			return nil, refuse(wire.Invalid, "the target of %s has no valid rollout", t.Key)
		}
		u := subs[k]
		if u == nil {
			u = &sub{key: k, files: map[string]string{}, has: t.SHA256, offered: unsure}
			subs[k] = u
		} else if u.has != t.SHA256 {
			u.has = "" // one of the files needs the data
		}
		u.on, u.probed = cmp.Or(t.Rollout, u.on), u.probed || t.Probed
		for _, file := range t.Files {
			if !path.IsAbs(file) || len(file) > maxPath {
				return nil, refuse(wire.Invalid, "%s is not an absolute path", kv.Quote(file))
			}
			u.files[f.o.Layout.Lock(file, h.Host)] = file
		}
	}
	return subs, nil
}

// maxPath is the longest path in Linux, in bytes.
const maxPath = 4096

func checkLabels(labels map[string]string) error {
	if len(labels) > wire.MaxLabels {
		return refuse(wire.Invalid, "the node has %d labels; at most %d are allowed", len(labels), wire.MaxLabels)
	}
	for name, value := range labels {
		if name == "" || len(name) > wire.MaxLabel || len(value) > wire.MaxLabel {
			return refuse(wire.Invalid, "the label %s is empty or has more than %d bytes", kv.Quote(name), wire.MaxLabel)
		}
	}
	return nil
}
