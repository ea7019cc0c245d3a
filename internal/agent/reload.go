package agent

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"time"

	"kvexpress/internal/config"
	"kvexpress/internal/install"
	"kvexpress/internal/outcome"
)

// Reload applies another configuration. All that can fail is done before anything that runs is touched: after an error the
// old configuration is in force. Targets that did not change are not disturbed.
func (a *Agent) Reload(c config.Config) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if c.StateDir != a.config.StateDir || c.Listen != a.config.Listen {
		a.refused = errors.New("state_dir and listen cannot change while the agent runs; restart it")
		return a.refused
	}
	stores, err := a.options.Open(c.Store)
	if err != nil {
		a.refused = err
		return err
	}
	uplink, err := a.uplink(c)
	if err != nil {
		a.refused = err
		return err
	}
	same := reflect.DeepEqual(c.Store, a.config.Store) && reflect.DeepEqual(c.Hubs, a.config.Hubs)
	all := !same || c.Layout != a.config.Layout || c.Node != a.config.Node || c.Reconcile != a.config.Reconcile
	a.stop(func(r *target) bool { return all || !slices.ContainsFunc(c.Targets, sameTarget(r, c)) })
	if same {
		a.renew(stores)
	} else {
		a.past += a.source.requests.Load()
		a.source = newStoreSource(stores, a.waits, a.options.pace, a.options.Log)
	}
	if all {
		a.finding.end()()
		a.finding = routine{}
		a.useHubs(c)
	}
	a.apply(c, uplink)
	if a.ctx != nil {
		a.start(a.ctx)
	}
	select {
	case a.news <- struct{}{}: // targets may have ended, or receipts be on
	default:
	}
	return nil
}

// Refuse notes a configuration that could not even be read.
func (a *Agent) Refuse(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.refused = err
}

// renew takes stores of the same configuration, whose token and certificates have been read again. A target that was denied
// reconciles; mu is held.
func (a *Agent) renew(stores []Store) {
	a.source.renew(stores)
	for _, r := range a.running {
		if r.snapshot().Outcome == outcome.Denied {
			r.wake()
		}
	}
}

// uplink is the way to the hubs of a configuration, if it has hubs.
func (a *Agent) uplink(c config.Config) (Uplink, error) {
	if len(c.Hubs.Addrs) == 0 {
		return Uplink{}, nil
	}
	return a.options.Hubs(c)
}

// useHubs makes the source for the hubs of a configuration, if it has hubs; mu is held.
func (a *Agent) useHubs(c config.Config) {
	if a.hubs = nil; len(c.Hubs.Addrs) > 0 {
		a.hubs = newHubSource(c, a.options, a.source)
		a.hubs.news = a.news
	}
}

// apply makes the targets of a configuration that do not exist yet; mu is held.
func (a *Agent) apply(c config.Config, u Uplink) {
	a.config, a.loaded, a.refused = c, time.Now(), nil
	a.source.serve(len(c.Targets))
	shared := sharedExecs(c.Targets)
	o := a.options
	from, rolled := source(a.source), chan struct{}(nil)
	if a.hubs != nil {
		from, rolled = a.hubs, a.hubs.stirred
	}
	n := &node{name: c.Node, layout: c.Layout, every: c.Reconcile, source: from, limits: a.limits, pace: o.pace, news: a.news,
		rolled: rolled, probes: a.probes,
		installer: &install.Installer{Store: from, Layout: c.Layout, Host: o.Host, StateDir: c.StateDir, Fault: o.Fault}}
	var all []*target
	for _, t := range c.Targets {
		t.DeferExec = deferred(t, shared)
		if i := slices.IndexFunc(a.running, func(r *target) bool { return sameTarget(r, c)(t) }); i >= 0 {
			all = append(all, a.running[i])
			continue
		}
		var g *group
		if t.DeferExec {
			g = a.group(t, n)
		}
		all = append(all, newTarget(t, n, g, o.Log.With("key", string(t.Key), "file", t.File)))
	}
	for i, r := range all {
		if polled := i >= maxWatched; r.polled.Swap(polled) != polled && r.done != nil {
			r.wake() // its row may be another one
		}
	}
	a.running = all
	if a.hubs != nil {
		a.hubs.serve(all, c, u)
	}
}

// group is the one of a target, which is made if there is none; mu is held.
func (a *Agent) group(t config.Target, n *node) *group {
	g := a.groups[t.ExecGroup()]
	if g == nil {
		g = newGroup(n.installer, t.ExecEvery, n.pace, a.options.Log.With("exec", t.Exec[0]))
		a.groups[t.ExecGroup()] = g
	}
	return g
}

// sharedExecs counts how many targets have the same exec.
func sharedExecs(targets []config.Target) map[string]int {
	n := map[string]int{}
	for _, t := range targets {
		if key := t.ExecGroup(); key != "" {
			n[key]++
		}
	}
	return n
}

// deferred reports whether a group runs the exec of a target.
func deferred(t config.Target, shared map[string]int) bool {
	return shared[t.ExecGroup()] > 1 || t.ExecEvery > 0
}

// sameTarget tells whether a target of configuration c runs already. Its place in the files does not matter.
func sameTarget(running *target, c config.Config) func(config.Target) bool {
	shared := sharedExecs(c.Targets)
	return func(t config.Target) bool {
		t.At = running.At
		t.DeferExec = deferred(t, shared)
		return reflect.DeepEqual(t, running.Target)
	}
}

// start runs targets and groups that do not run yet; mu is held.
func (a *Agent) start(ctx context.Context) {
	for _, g := range a.groups {
		g.start(ctx, g.run)
	}
	for _, r := range a.running {
		r.start(ctx, r.run)
	}
	if a.hubs != nil {
		a.finding.start(ctx, a.hubs.run)
	}
}

// stop ends the targets for which which is true, and the groups without a target, and waits for them; mu is held.
func (a *Agent) stop(which func(*target) bool) {
	var left []*target
	used := map[*group]bool{}
	for _, r := range a.running {
		if !which(r) {
			left = append(left, r)
			used[r.group] = true
		} else {
			defer r.end()()
		}
	}
	for key, g := range a.groups {
		if !used[g] {
			defer g.end()()
			delete(a.groups, key)
		}
	}
	a.running = left
}
