package hub

import (
	"kvexpress/internal/hub/fanout"
	"kvexpress/internal/hub/feed"
	"kvexpress/internal/hub/receipts"
	"kvexpress/internal/hub/rollouts"
	"kvexpress/internal/observe"
	"kvexpress/internal/rollout"
)

// Own is what a hub itself does, for its metrics.
type Own struct {
	Agents   fanout.Counts
	Feed     feed.Status
	Receipts receipts.Counts
	Rollouts rollouts.Counts
}

// Write writes Prometheus' text format.
func (o Own) Write(m *observe.PromWriter) {
	c, f, r := o.Agents, o.Feed, o.Receipts
	gauge := func(name, help string, value float64) { m.One("kvexpress_hub_"+name, observe.Gauge, help, value) }
	counter := func(name, help string, value uint64) {
		m.One("kvexpress_hub_"+name, observe.Counter, help, float64(value))
	}
	gauge("agents", "Agents that are connected to this hub.", float64(c.Agents))
	gauge("duplicate_nodes", "Node names that two connected agents use.", float64(c.Twins))
	gauge("age_seconds", "Time since this hub last confirmed what it knows of the store.", f.Age.Seconds())
	gauge("keys", "Keys that connected agents use.", float64(f.Keys))
	gauge("held_bytes", "Data of keys in memory.", float64(f.Held))
	m.Family("kvexpress_hub_hellos_total", observe.Counter, "Agents that connected, by result: accepted or refused.")
	m.Sample(float64(c.Accepted), observe.With("result", "accepted"))
	m.Sample(float64(c.Refused), observe.With("result", "refused"))
	counter("snapshots_total", "Snapshots that were pushed to agents.", c.Pushed)
	counter("confirmations_total", "Questions of agents that were answered.", c.Confirmed)
	counter("slow_agents_total", "Agents that were disconnected because they did not read.", c.Slow)
	counter("store_reads_total", "Read transactions on the store.", f.Reads)
	counter("receipts_total", "Receipts that agents sent.", r.Taken)
	counter("receipts_written_total", "Receipts that were written to the store.", r.Written)
	m.Family("kvexpress_hub_receipt_batches_total", observe.Counter,
		"Transactions with receipts, by result: written, conflict or failed.")
	m.Sample(float64(r.Batches), observe.With("result", "written"))
	m.Sample(float64(r.Conflicts), observe.With("result", "conflict"))
	m.Sample(float64(r.Failed), observe.With("result", "failed"))
	o.rollouts(m)
}

// rollouts writes the rollouts that this hub controls.
func (o Own) rollouts(m *observe.PromWriter) {
	for _, f := range []struct {
		name, help string
		value      func(rollouts.Open) int
	}{
		{"stage", "Stage of a rollout that this hub controls, from 1; above its last stage the candidate is being promoted.",
			func(r rollouts.Open) int { return r.Stage + 1 }},
		{"stages", "Stages of the rollout.", func(r rollouts.Open) int { return r.Stages }},
		{"admitted_nodes", "Nodes that get the candidate.", func(r rollouts.Open) int { return r.Admitted }},
		{"healthy_nodes", "Of them, nodes that said that it works.", func(r rollouts.Open) int { return r.Healthy }},
		{"failed_nodes", "Of them, nodes that failed.", func(r rollouts.Open) int { return r.Failed }},
	} {
		m.Family("kvexpress_rollout_"+f.name, observe.Gauge, f.help)
		for _, r := range o.Rollouts.Open {
			m.Sample(float64(f.value(r)), observe.With("key", string(r.Key)))
		}
	}
	m.Family("kvexpress_rollout_state", observe.Gauge, "1 for the state of a rollout that this hub controls.")
	for _, r := range o.Rollouts.Open {
		m.Sample(1, observe.With("key", string(r.Key)), observe.With("state", string(r.State)))
	}
	m.Family("kvexpress_rollout_ends_total", observe.Counter,
		"Rollouts that ended, or halted, while this hub controlled them, by state.")
	for _, state := range []rollout.State{rollout.Promoted, rollout.Reverted, rollout.Halted, rollout.Aborted, rollout.Superseded} {
		m.Sample(float64(o.Rollouts.Ends[state]), observe.With("state", string(state)))
	}
}
