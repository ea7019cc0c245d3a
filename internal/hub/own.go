package hub

import (
	"kvexpress/internal/hub/fanout"
	"kvexpress/internal/hub/feed"
	"kvexpress/internal/hub/receipts"
	"kvexpress/internal/observe"
)

// Own is what a hub itself does, for its metrics.
type Own struct {
	Agents   fanout.Counts
	Feed     feed.Status
	Receipts receipts.Counts
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
}
