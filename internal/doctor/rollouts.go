package doctor

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"kvexpress/internal/command"
	"kvexpress/internal/kv"
	"kvexpress/internal/rollout"
	"kvexpress/internal/wire"
)

const policyCheck = "policy"

// OfPolicy checks whether a publish of the key can begin: that its policy can be read, and what a hub says of a rollout now.
// preview asks a hub; nil: none is named.
func OfPolicy(r kv.Reader, l kv.Layout, k kv.Key, preview func(context.Context) (rollout.Preview, error), g kv.Guide) Check {
	return Check{Name: policyCheck, About: string(k), Run: func(ctx context.Context) []Finding {
		rows, err := r.Read(ctx, kv.Default, l.Policy(k), l.Rollout(k))
		if err != nil {
			return []Finding{unasked(err, g)}
		}
		p, err := rollout.Parse(k, rows[l.Policy(k)])
		if err != nil {
			return []Finding{found(Failure, "%s", g.Explain(err))}
		}
		return append(ofStages(ctx, p, preview, g), ofRow(k, rows[l.Rollout(k)], g)...)
	}}
}

func ofStages(ctx context.Context, p rollout.Policy, preview func(context.Context) (rollout.Preview, error),
	g kv.Guide) (all []Finding) {
	switch {
	case len(p.Lines()) == 0:
		return []Finding{found(OK, "the key has no policy: a new version reaches all nodes at once")}
	case len(p.Stages) == 0:
		return []Finding{found(OK, "its policy can be read, and has no stages: a new version reaches all nodes at once")}
	case preview == nil:
		return []Finding{found(Failure, "its policy has stages, and a rollout needs a hub; name one with --hub or KVEXPRESS_HUB")}
	}
	v, err := preview(ctx)
	if err != nil {
		return []Finding{found(Failure, "%s", g.Explain(err))}
	}
	for _, problem := range v.Problems {
		all = append(all, found(Failure, "no rollout can begin: %s", g.Typed(problem)))
	}
	for _, left := range v.Left {
		all = append(all, found(Warning, "%s is not counted: %s; see `kvexpress doctor` there", left.Node, left.Why))
	}
	if len(v.Problems) == 0 {
		var stages []string
		for i, n := range v.Stages[:min(len(v.Stages), len(v.Plan.Stages))] {
			stages = append(stages, fmt.Sprintf("%s: %d", v.Plan.Stages[i].Name(), n))
		}
		all = append(all, found(OK, "a rollout can begin; nodes by stage: %s", strings.Join(stages, ", ")))
	}
	return all
}

// ofRow is the state of an open rollout.
func ofRow(k kv.Key, e kv.Entry, g kv.Guide) []Finding {
	row, err := rollout.ParseRow(k, e)
	switch {
	case err != nil:
		return []Finding{found(Failure, "%s", g.Explain(err))}
	case row == nil || row.State.Ended():
		return nil
	case row.State == rollout.Halted || row.State == rollout.Paused:
		return []Finding{found(Warning, "the rollout of version %d is %s: %s; %s", row.Version, row.State, row.Reason,
			g.Typed("see `kvexpress rollout status -k "+string(k)+"`"))}
	}
	return []Finding{found(OK, "version %d is being rolled out", row.Version)}
}

// NodePolicy is how rollouts of a key reach this node.
type NodePolicy struct {
	Key kv.Key
	// Plan asks a hub for the plan of the key, or, for a node without hubs, the store.
	Plan    func(context.Context) (rollout.Plan, error)
	Hubs    bool // the node has hubs
	Labels  map[string]string
	Targets []Target // of the key
	Guide   kv.Guide
}

// OfNodePolicy checks that this node can take part in rollouts of a key.
func OfNodePolicy(n NodePolicy) Check {
	return Check{Name: policyCheck, About: string(n.Key), Run: func(ctx context.Context) (all []Finding) {
		p, err := n.Plan(ctx)
		switch {
		case errors.Is(err, wire.ErrForbidden), errors.Is(err, kv.ErrDenied):
			return []Finding{found(NotChecked, "%s", n.Guide.Explain(err))}
		case err != nil:
			return []Finding{found(Warning, "%s", n.Guide.Explain(err))}
		}
		for _, t := range n.Targets {
			switch {
			case len(t.Probe) == 0:
			case !n.Hubs:
				all = append(all, found(Warning, "the probe of %s never runs: only hubs offer candidates, and agent.yml names none; "+
					"add hubs, or remove the probe", t.File))
			case len(p.Stages) > 0 && t.ProbeTimeout > p.Patience():
				all = append(all, found(Warning, "the probe of %s may take %s, and the policy ends a rollout after %s without progress; "+
					"shorten probe_timeout in agent.yml, or raise timeout in the policy", t.File, text(t.ProbeTimeout), text(p.Patience())))
			}
		}
		stage := p.StageOf(n.Labels)
		switch {
		case len(p.Stages) == 0:
			return append(all, found(OK, "no stages: a new version reaches this node at once"))
		case !n.Hubs:
			return append(all, found(Warning, "its policy has stages, and this node has no hubs: it gets a new version at the end of "+
				"each rollout; add hubs to agent.yml"))
		case stage < 0:
			return append(all, found(OK, "no stage is for the labels of this node: shares and counts decide when a rollout reaches it"))
		}
		return append(all, found(OK, "the labels of this node put it in stage %d of %d (%s)", stage+1, len(p.Stages),
			p.Stages[stage].Name()))
	}}
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func text(d time.Duration) string { return rollout.Text(rollout.Duration(d)) }

// OfGate checks that the command of a gate in hub.yml can be started.
func OfGate(name string, argv []string) Check {
	return Check{Name: "gate", About: name, Run: func(context.Context) []Finding {
		if err := command.Lookup(argv[0]); err != nil {
			return []Finding{found(Failure, "%v", err)}
		}
		return []Finding{found(OK, "its program %s can be started", argv[0])}
	}}
}

// OfWebhook checks that the server of a webhook answers. The request is a HEAD of its root, without the token: no notice is sent,
// and the path, which may have a secret, neither. token reads the token of the webhook; nil: it has none.
func OfWebhook(address string, token func() (string, error)) Check {
	u, err := url.Parse(address)
	if err != nil { // hub.yml was read: this does not happen
		u = &url.URL{}
	}
	return Check{Name: "notify", About: u.Host, Run: func(ctx context.Context) []Finding {
		if token != nil {
			if _, err := token(); err != nil {
				return []Finding{found(Failure, "%v; correct token_file of notify in hub.yml", err)}
			}
		}
		r, err := http.NewRequestWithContext(ctx, http.MethodHead, u.Scheme+"://"+u.Host+"/", nil)
		var answer *http.Response
		if err == nil {
			client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
			answer, err = client.Do(r)
		}
		if err != nil {
			return []Finding{found(Failure, "the webhook cannot be reached: %v; correct notify in hub.yml, or check the network", err)}
		}
		_ = answer.Body.Close() // a HEAD has none
		return []Finding{found(OK, "its server answers; no notice was sent")}
	}}
}

// OfHubRollouts checks that the token of a hub may run rollouts, and the row that keeps watches on rollouts quiet. needs: hub.yml
// has something that only a hub that runs rollouts uses.
func OfHubRollouts(s Store, rights []Right, keep string, needs bool, g kv.Guide) Check {
	return Check{Name: "rollouts", About: s.Addr(), Run: func(ctx context.Context) []Finding {
		f := ofRights(ctx, s, rights, g)
		switch f.Check = ""; {
		case f.Result == Failure && !needs:
			return []Finding{found(OK, "the token may not run rollouts: this hub serves agents, and another one must run them; %s",
				g.Typed("`kvexpress acl hub --rollouts` prints the policy for it"))}
		case f.Result == Failure:
			f.Says = "gates and notify have no effect: " + f.Says
			return []Finding{f}
		case f.Result != OK:
			return []Finding{f}
		}
		rows, err := s.Read(ctx, kv.Default, keep)
		switch {
		case err != nil:
			return []Finding{unasked(err, g)}
		case rows[keep].State != kv.Present:
			return []Finding{found(Warning, "the row %s is missing, so each write to the store wakes the watches on rollouts; a hub "+
				"writes it at its start: `systemctl restart kvexpress-hub`", keep)}
		}
		return []Finding{found(OK, "the token may run rollouts")}
	}}
}

// OfRolloutPeer checks that another hub answers about rollouts, and follows as many hubs as this one. ask returns how many it
// follows; -1: it does not say.
func OfRolloutPeer(addr string, peers int, ask func(context.Context) (int, error)) Check {
	return Check{Name: "rollouts", About: addr, Run: func(ctx context.Context) []Finding {
		n, err := ask(ctx)
		switch {
		case errors.Is(err, wire.ErrForbidden):
			return []Finding{found(NotChecked, "%v", err)}
		case err != nil:
			return []Finding{found(Failure, "the peer does not answer about rollouts, so its nodes do not count: %v", err)}
		case n >= 0 && n != peers:
			return []Finding{found(Warning, "the peer has %s in its hub.yml, and this hub %d; name all other hubs in peers of "+
				"each hub.yml", count(n, "peer"), peers)}
		}
		return []Finding{found(OK, "the peer answers about rollouts")}
	}}
}
