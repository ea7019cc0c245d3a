package cli

import (
	"io"
	"maps"
	"runtime"
	"slices"
	"strconv"
	"time"

	"kvexpress/internal/agent"
	"kvexpress/internal/gate"
	"kvexpress/internal/observe"
	"kvexpress/internal/outcome"
)

// WriteAgentMetrics writes the metrics of a status and of this process, in Prometheus' text format. now is the time of the
// scrape.
//
// A counter that never counted is 0: Prometheus cannot alert on an absent series. A target without
// an exec has no series about execs.
func WriteAgentMetrics(w io.Writer, s agent.Status, now time.Time) error {
	m := agentMetrics{observe.NewProm(w)}
	m.agent(s, now)
	targets := make([]labelled, len(s.Targets))
	for i, t := range s.Targets {
		targets[i] = labelled{t, append(make([]observe.Label, 0, 3), observe.With("key", t.Key), observe.With("file", t.File))}
	}
	m.targets(targets, s.Started, now)
	m.execs(slices.DeleteFunc(targets, func(t labelled) bool { return t.Exec == nil }))
	return m.End()
}

type agentMetrics struct{ *observe.PromWriter }

// labelled is a target with its labels, and room for one more.
type labelled struct {
	agent.TargetStatus
	labels []observe.Label
}

// and is the target's labels with one more, until the next call.
func (t labelled) and(name, value string) []observe.Label {
	return append(t.labels, observe.With(name, value))
}

func (m agentMetrics) agent(s agent.Status, now time.Time) {
	m.Family("kvexpress_build_info", observe.Gauge, "Version of the program; always 1.")
	m.Sample(1, observe.With("version", s.Version), observe.With("goversion", runtime.Version()))
	m.One("go_goroutines", observe.Gauge, "Goroutines that exist now.", float64(runtime.NumGoroutine()))
	m.One("kvexpress_agent_config_last_reload_successful", observe.Gauge,
		"1 if the last reload succeeded, 0 if it was refused.",
		observe.Truth(s.Config.Error == ""))
	m.One("kvexpress_agent_store_up", observe.Gauge, "1 if the store answers the agent or its hub.", observe.Truth(s.StoreUp()))
	m.One("kvexpress_agent_receipt_failed", observe.Gauge, "1 if the last receipt was not written.",
		observe.Truth(s.Receipt.Error != ""))
	m.One("kvexpress_agent_store_requests_total", observe.Counter, "Requests to the store.", float64(s.Requests))
	contact := s.Started
	if s.Contact != nil {
		contact = *s.Contact
	}
	m.One("kvexpress_agent_contact_age_seconds", observe.Gauge,
		"Time since a hub or the store last showed that the node gets news, at the scrape; since the start of the agent if none did.",
		max(0, now.Sub(contact).Seconds()))
	if s.Hub == nil {
		return
	}
	m.Family("kvexpress_agent_hub_connected", observe.Gauge, "1 for the hub that is connected, 0 for the others.")
	for _, addr := range s.Hub.Addrs {
		m.Sample(observe.Truth(addr == s.Hub.Addr), observe.With("hub", addr))
	}
	m.One("kvexpress_agent_hub_age_seconds", observe.Gauge,
		"Time since the connected hub last confirmed what it knows of the store; 0 without a hub.",
		time.Duration(s.Hub.Age).Seconds())
}

// targets writes the metrics of every target.
func (m agentMetrics) targets(targets []labelled, started, now time.Time) {
	for _, f := range []struct {
		name string
		kind observe.PromKind
		help string
		of   func(labelled) float64
	}{
		{"version", observe.Gauge, "Version in place, within its lineage; 0 for one without a number.",
			func(t labelled) float64 { return float64(t.Version) }},
		{"candidate", observe.Gauge, "1 while the file is the candidate of a rollout.",
			func(t labelled) float64 { return observe.Truth(t.Candidate != nil && t.Candidate.InPlace) }},
		{"content_hash", observe.Gauge,
			"The first 48 bits of the SHA-256 of the bytes in place, to see whether nodes agree; 0 before they are known.",
			func(t labelled) float64 { return fingerprint(t.SHA256) }},
		{"last_good_age_seconds", observe.Gauge,
			"Time since the last successful reconcile, at the scrape; since the start of the agent if there is none.",
			func(t labelled) float64 { return convergedAge(t, started, now) }},
		{"reconciles_total", observe.Counter, "Times that the target was reconciled.",
			func(t labelled) float64 { return float64(t.Counts.Reconciles) }},
		{"installs_total", observe.Counter, "Times that the file was replaced.",
			func(t labelled) float64 { return float64(t.Counts.Installs) }},
		{"repairs_total", observe.Counter, "Times that mode or owner were corrected.",
			func(t labelled) float64 { return float64(t.Counts.Repairs) }},
	} {
		m.Family("kvexpress_agent_target_"+f.name, f.kind, f.help)
		for _, t := range targets {
			m.Sample(f.of(t), t.labels...)
		}
	}
	m.Family("kvexpress_agent_target_outcome", observe.Gauge, "1 for the outcome of the target, 0 for the others.")
	for _, t := range targets {
		for _, o := range outcome.Reported() {
			m.Sample(observe.Truth(t.Outcome == o), t.and("outcome", string(o))...)
		}
	}
	m.Family("kvexpress_agent_target_refusals_total", observe.Counter, "Times that the file was left as it is, by reason.")
	for _, t := range targets {
		for _, reason := range refusalReasons(t.Counts.Refusals) {
			m.Sample(float64(t.Counts.Refusals[reason]), t.and("reason", reason)...)
		}
	}
}

// execs writes the metrics of targets with an exec.
func (m agentMetrics) execs(targets []labelled) {
	m.Family("kvexpress_agent_target_exec_pending", observe.Gauge, "1 if the exec has not succeeded yet for the bytes in place.")
	for _, t := range targets {
		m.Sample(observe.Truth(t.Exec.Pending), t.labels...)
	}
	m.Family("kvexpress_agent_target_exec_total", observe.Counter, "Execs that ended, by result: ok or failed.")
	for _, t := range targets {
		m.Sample(float64(t.Counts.ExecOK), t.and("result", "ok")...)
		m.Sample(float64(t.Counts.ExecFail), t.and("result", "failed")...)
	}
	m.Family("kvexpress_agent_target_exec_duration_seconds", observe.Histogram, "How long execs took, whatever their result.")
	bounds := agent.ExecBuckets()
	for _, t := range targets {
		m.Histogram(bounds, t.Counts.ExecSeconds, time.Duration(t.Counts.ExecTotal).Seconds(), t.labels...)
	}
}

// refusalReasons are the known reasons, whether they have occurred or not, and then others that have.
func refusalReasons(counted map[string]uint64) []string {
	var known []string
	for _, reason := range []gate.Reason{gate.Empty, gate.TooShort, gate.TooLarge, gate.Mismatch, gate.Corrupt, gate.CheckFailed,
		gate.NeedsNewer} {
		known = append(known, string(reason))
	}
	for _, o := range []outcome.Outcome{outcome.Stopped, outcome.Locked, outcome.Missing, outcome.Denied, outcome.Older,
		outcome.Failed, outcome.Unreachable} {
		known = append(known, string(o))
	}
	for _, reason := range slices.Sorted(maps.Keys(counted)) {
		if !slices.Contains(known, reason) {
			known = append(known, reason)
		}
	}
	return known
}

func convergedAge(t labelled, started, now time.Time) float64 {
	last := started
	if t.Good != nil {
		last = *t.Good
	}
	return max(0, now.Sub(last).Seconds())
}

// fingerprint is the beginning of a checksum as a number that a float64 holds
// exactly; 0 if there is none.
func fingerprint(sha256 string) float64 {
	const digits = 12 // of 4 bits each
	if len(sha256) < digits {
		return 0
	}
	n, err := strconv.ParseUint(sha256[:digits], 16, 64)
	if err != nil {
		return 0
	}
	return float64(n)
}
