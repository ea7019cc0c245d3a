package rollouts

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"kvexpress/internal/command"
	"kvexpress/internal/kv"
	"kvexpress/internal/record"
	"kvexpress/internal/rollout"
)

// Gate is a command of hub.yml that must pass before a stage ends: it exits with 0 within its time.
type Gate struct {
	Run     []string
	Timeout time.Duration // 0: command.DefaultTimeout
}

// runGate runs a gate beside the track, which is woken by its result.
func (t *track) runGate(ctx context.Context, name string, row rollout.Row) {
	t.r.mu.Lock()
	t.gateRun++
	run := t.gateRun
	t.r.mu.Unlock()
	set := func(g rollout.GateResult) {
		t.r.mu.Lock()
		defer t.r.mu.Unlock()
		if t.of == row.ID && t.gateRun == run { // gates run one at a time: an older run, from before a pause, does not count
			gates := map[string]rollout.GateResult{name: g} // a step may be looking at the old ones
			for other, result := range t.gates {
				if other != name {
					gates[other] = result
				}
			}
			t.gates = gates
			t.poke()
		}
	}
	gate, known := t.r.o.Gates[name]
	if !known {
		set(rollout.GateResult{Done: true, Detail: "hub.yml of " + t.r.o.Hub + " does not have it"})
		return
	}
	set(rollout.GateResult{})
	t.r.work.Go(func() {
		err := t.gate(ctx, name, gate, row)
		result := rollout.GateResult{Done: true, Passed: err == nil}
		if err != nil {
			result.Detail = brief(err)
			t.r.o.Log.Warn("gate failed", "key", t.key, "version", row.Version, "gate", name, "error", err)
		}
		if ctx.Err() == nil { // else another hub runs it again
			set(result)
		}
	})
}

// gate runs a gate with the file of the candidate as its input.
func (t *track) gate(ctx context.Context, name string, g Gate, row rollout.Row) error {
	t.r.mu.Lock()
	data := t.cand.rows[t.r.o.Layout.Data(t.key)]
	t.r.mu.Unlock()
	plain, err := decode(t.key, data)
	if err != nil {
		return fmt.Errorf("read version %d of %s for the gate %s: %w", row.Version, t.key, name, err)
	}
	_, err = command.Run(ctx, command.Command{Argv: g.Run, Timeout: g.Timeout, Input: plain, Env: []string{
		"KEY=" + string(row.Key), "VERSION=" + strconv.FormatUint(row.Version, 10), "STAGE=" + strconv.Itoa(row.Stage+1),
	}})
	return err
}

func decode(_ kv.Key, data kv.Entry) ([]byte, error) {
	encoding, err := record.FromFlags(data.Flags)
	if err != nil {
		return nil, err
	}
	return record.Decode(encoding, data.Value)
}

// brief is an error in one line without output of commands: it goes into the store.
func brief(err error) string {
	if b, ok := err.(interface{ Brief() string }); ok {
		return b.Brief()
	}
	return err.Error()
}

func marshal(v any) ([]byte, error) { return json.Marshal(v) }
