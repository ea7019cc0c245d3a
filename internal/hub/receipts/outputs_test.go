package receipts_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/fleet"
	"kvexpress/internal/hub/receipts"
	"kvexpress/internal/kv"
	"kvexpress/internal/outcome"
	"kvexpress/internal/wait"
)

// failed is a part whose exec failed so many times, with an output.
func failed(failures int, text string) fleet.Part {
	p := part(1)
	p.Targets[0].Outcome, p.Targets[0].ExecPending, p.Targets[0].Exec = outcome.Pending, true, &fleet.Exec{Exit: 1, Failures: failures}
	p.Outputs = []fleet.Output{{Key: "hosts", File: "/etc/hosts", Text: text}}
	return p
}

// outputs are those in a page, by node.
func (w *world) outputs(t *testing.T, table *receipts.Table, own bool) map[string]string {
	t.Helper()
	p, err := table.Page(context.Background(), 0, time.Minute, own)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, row := range p.Rows {
		for _, o := range row.Outputs {
			found[row.Node] += o.Key + " " + o.File + " " + o.Text
		}
	}
	return found
}

// A table shows the output of a failed command until the target recovers, or the node is forgotten. The store never has it.
func TestOutputs(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		wants := func(when, want string) {
			t.Helper()
			_ = wait.For(context.Background(), 10*time.Second) // for the store, and back
			if got := w.outputs(t, w.Table, false)["web-1"]; got != want {
				t.Errorf("%s: got %q, want %q", when, got, want)
			}
			all, err := w.store.List(context.Background(), kv.Default, "", 0, 0)
			if err != nil {
				t.Fatal(err)
			}
			for _, row := range all.Rows {
				r, err := fleet.ParseReceipt("web-1", row.Value, row.Flags)
				if value, _, bad := r.Marshal(); err != nil || bad != nil || strings.Contains(string(row.Value)+string(value)+r.Targets[0].Detail, "SECRET") {
					t.Errorf("%s: the store has %+v: %v", when, r, err)
				}
			}
		}
		w.Connected("web-1", 1)
		_ = w.Put("web-1", failed(1, "SECRET one"), 100)
		wants("failed", "hosts /etc/hosts SECRET one")
		_ = w.Put("web-1", failed(1, "SECRET two"), 100)
		wants("another output", "hosts /etc/hosts SECRET two")
		_ = w.Put("web-1", failed(1, strings.Repeat("x", 2*fleet.MaxOutput)), 100)
		wants("a long one", "hosts /etc/hosts …\n"+strings.Repeat("x", fleet.MaxOutput-4))
		foreign := failed(1, "SECRET")
		foreign.Outputs[0].Key = "other"
		_ = w.Put("web-1", foreign, 100)
		wants("of a key that the file is not of", "")
		_ = w.Put("web-1", failed(1, "SECRET three"), 100)
		_ = w.Put("web-1", part(1), 100)
		wants("recovered", "")

		// Through the store, from an agent that has left the hub.
		_ = w.Put("web-1", failed(2, "SECRET four"), 100)
		wants("failed again", "hosts /etc/hosts SECRET four")
		w.Connected("web-1", -1)
		wants("disconnected", "hosts /etc/hosts SECRET four")
		direct := fleet.Writer{Store: w.store, Layout: w.layout, Node: "web-1"}
		for _, p := range []fleet.Part{failed(3, ""), part(1)} {
			if err := direct.PutAgent(context.Background(), time.Now(), p.Agent, p.Targets); err != nil {
				t.Fatal(err)
			}
			wants("another failure, or recovered, without a hub", "")
		}
		w.Connected("web-1", 1)
		_ = w.Put("web-1", failed(1, "SECRET five"), 100)
		wants("back", "hosts /etc/hosts SECRET five")
		w.Connected("web-1", -1)
		if _, err := w.store.Commit(context.Background(), []kv.Op{{Verb: kv.Delete, Path: w.layout.Node("web-1")}}); err != nil {
			t.Fatal(err)
		}
		wants("forgotten", "")
	})
}

// Outputs go from hub to hub, and count in the limits of both.
func TestOutputsOfPeers(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		other := receipts.New(receipts.Options{Store: w.store, Layout: w.layout, Hub: "hub-2", Log: slog.New(slog.DiscardHandler)})
		ctx, cancel := context.WithCancel(context.Background())
		defer func() { cancel(); _ = wait.For(context.Background(), time.Minute) }()
		go other.Sync(ctx)
		go other.Persist(ctx)
		other.Connected("web-1", 1)
		_ = other.Put("web-1", failed(1, "SECRET"), 100)
		follow := func() {
			p, err := other.Page(context.Background(), 0, time.Minute, true)
			if err != nil {
				t.Fatal(err)
			}
			w.Take("hub-2", p)
		}
		follow()
		for _, after := range []time.Duration{0, time.Minute} { // then the row has come through the store, too
			_ = wait.For(context.Background(), after)
			if got := w.outputs(t, w.Table, false); got["web-1"] != "hosts /etc/hosts SECRET" {
				t.Errorf("after %s: %q", after, got)
			}
		}
		_ = other.Put("web-1", part(1), 100)
		follow()
		if got := w.outputs(t, w.Table, false); len(got) > 0 {
			t.Errorf("recovered: %q", got)
		}

		w.Connected("big", 1)
		if err := w.Put("big", part(1), 512<<20-256); err != nil {
			t.Fatal(err)
		}
		_ = other.Put("web-1", failed(1, "SECRET"), 100)
		follow()
		if got := w.outputs(t, w.Table, false); len(got) > 0 {
			t.Errorf("without room: %q", got)
		}
	})
}
