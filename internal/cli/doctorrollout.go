package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"kvexpress/internal/config"
	"kvexpress/internal/doctor"
	"kvexpress/internal/kv"
	"kvexpress/internal/rollout"
	"kvexpress/internal/store/consul"
	"kvexpress/internal/wire"
)

// hubRollouts checks what a hub needs to run rollouts.
func (s *session) hubRollouts(f hubFlags, store doctor.Store, g kv.Guide) (checks []doctor.Check) {
	policy, _ := s.acl("hub", nil, "", false, true) // it has no key that could be wrong
	g.Role += " --rollouts"
	needs := len(f.Gates) > 0 || f.Notify.URL != ""
	checks = append(checks, doctor.OfHubRollouts(store, s.rightsOf(policy, nil), s.layout.RolloutsDir()+".keep", needs, g))
	for _, name := range slices.Sorted(maps.Keys(f.Gates)) {
		checks = append(checks, doctor.OfGate(name, f.Gates[name].Run))
	}
	if w := webhook(f.Notify); w != nil {
		checks = append(checks, doctor.OfWebhook(w.URL, w.Token))
	}
	return checks
}

// policies are the checks of how rollouts of each key reach the node.
func (n *node) policies() (checks []doctor.Check) {
	of := map[kv.Key][]config.Target{}
	for _, t := range n.Targets {
		of[t.Key] = append(of[t.Key], t)
	}
	for _, k := range slices.Sorted(maps.Keys(of)) {
		p := doctor.NodePolicy{Key: k, Labels: n.Labels, Hubs: len(n.Hubs.Addrs) > 0, Guide: n.guide()}
		for _, t := range of[k] {
			p.Targets = append(p.Targets, doctor.Target{Target: t.Target})
		}
		switch p.Plan = n.planOfStore(k); {
		case p.Hubs:
			p.Plan = n.planOfHubs(k)
		case n.store == nil:
			continue // the finding on the store says why
		}
		checks = append(checks, doctor.OfNodePolicy(p))
	}
	return checks
}

func (n *node) planOfStore(k kv.Key) func(context.Context) (rollout.Plan, error) {
	return func(ctx context.Context) (rollout.Plan, error) {
		path := n.Layout.Policy(k)
		rows, err := n.store.Read(ctx, kv.Default, path)
		if err != nil {
			return rollout.Plan{}, err
		}
		p, err := rollout.Parse(k, rows[path])
		return p.Plan, err
	}
}

// planOfHubs asks the hubs of the node, with its token, until one answers.
func (n *node) planOfHubs(k kv.Key) func(context.Context) (rollout.Plan, error) {
	return func(ctx context.Context) (rollout.Plan, error) {
		clients, err := hubClients(n.Hubs, consul.Options{TokenFile: n.Store.TokenFile})
		errs := []error{err}
		for _, hub := range clients {
			var p rollout.Preview
			b, err := hub.Get(ctx, rollout.PreviewPath, url.Values{"key": {string(k)}}, maxView)
			if err == nil {
				err = json.Unmarshal(b, &p)
			}
			if err == nil || errors.Is(err, wire.ErrForbidden) {
				return p.Plan, err
			}
			errs = append(errs, rolloutless(err))
		}
		return rollout.Plan{}, errors.Join(errs...)
	}
}

// rolloutless adds the remedy for a hub from before rollouts.
func rolloutless(err error) error {
	if err != nil && strings.Contains(err.Error(), "HTTP status 404") {
		return fmt.Errorf("%w; it does not know rollouts: update kvexpress there", err)
	}
	return err
}
