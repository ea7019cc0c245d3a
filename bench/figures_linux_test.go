package bench

import (
	"cmp"
	"fmt"
	"testing"

	"kvexpress/internal/hub"
)

// figure is one row of a table: through a hub, and without one. 0 is a cell without a value.
type figure struct {
	name                      string
	direct, through, modelled float64
	limit                     string // of HUB.md
}

// printFigures prints the measured values, their ratio, and how the model of docs/scale.md compares.
func printFigures(b *testing.B, title string, all []figure) {
	b.Helper()
	table := newTable()
	cell := func(form string, v float64) string {
		if v == 0 {
			return "–"
		}
		return fmt.Sprintf(form, v)
	}
	fmt.Fprintf(table, "%s\tdirect\thub\thub to direct\tlimit\tmodel\thub to model\t\n", title)
	for _, f := range all {
		ratio, off := 0.0, 0.0
		if f.direct > 0 {
			ratio = f.through / f.direct
		}
		if f.modelled > 0 {
			off = f.through / f.modelled
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n", f.name, cell("%.2f", f.direct), cell("%.2f", f.through),
			cell("%.2f ×", ratio), cmp.Or(f.limit, "–"), cell("%.2f", f.modelled), cell("%.2f ×", off))
	}
	table.print(b)
}

// model is what docs/scale.md predicts for one hub on this machine. Its last file is of nodes that share two cores with hub and
// Consul; these are busy for 83 % of the time, and wait for the disk else.
func model(b *testing.B, f hub.Fleet) (need hub.Need, lastMs float64) {
	b.Helper()
	f.Hubs, f.Size = 1, len(hosts(1))
	need, err := hub.Size(f)
	if err != nil {
		b.Fatal(err)
	}
	const cores, busy = 2, 0.83
	cpu := millis(need.HubCPU) + float64(f.Nodes)*millis(need.NodeCPU) + millis(need.Publish+need.Receipts)
	return need, millis(need.Read) + cpu/cores/busy
}

func millis[D ~int64](d D) float64 { return float64(d) / 1e6 }

// compareModel prints what the model predicts for nodes that follow a hub and report.
func (c comparison) compareModel(b *testing.B, results map[kind][]result) {
	b.Helper()
	for _, k := range c.kinds {
		if k != hubReporting {
			continue
		}
		of := func(get func(result) float64) float64 {
			var v []float64
			for _, r := range results[k] {
				v = append(v, get(r))
			}
			return middle(v)
		}
		need, last := model(b, hub.Fleet{Nodes: c.nodes, Keys: max(1, c.nodes*(c.targets-1)+1), Targets: max(1, c.targets), Plain: true})
		printFigures(b, string(k), []figure{
			{name: "last file, ms", through: of(func(r result) float64 { return r.last }), modelled: last},
			{name: "CPU of a node, ms", through: of(func(r result) float64 { return r.procs }) / float64(c.nodes), modelled: millis(need.NodeCPU)},
			{name: "CPU of the hub, ms", through: of(func(r result) float64 { return r.hub }), modelled: millis(need.HubCPU),
				limit: fmt.Sprintf("%.0f", 0.1*float64(c.nodes))},
			{name: "Consul's CPU, ms", through: of(func(r result) float64 { return r.consul }), modelled: millis(need.Publish + need.Receipts)},
		})
	}
}
