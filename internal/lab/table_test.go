//go:build linux

package lab_test

import (
	"testing"
	"time"

	"kvexpress/internal/lab"
)

// change is one at three nodes, whose times are those of a pattern, scaled.
func measured(scale float64, modes ...lab.Mode) lab.Change {
	ms := func(n float64) time.Duration { return time.Duration(n * scale * float64(time.Millisecond)) }
	c := lab.Change{Catalog: ms(4), Nodes: []lab.Arrival{
		{Node: "node-01", Mode: modes[0], File: ms(60), Answer: ms(70)},
		{Node: "node-02", Mode: modes[1], File: ms(75), Answer: ms(100)},
		{Node: "node-03", Mode: modes[2], File: ms(80), Answer: ms(90)},
	}}
	if modes[0] != lab.Template {
		c.Rendered, c.Published = ms(35), ms(50)
	}
	return c
}

func TestTable(t *testing.T) {
	t.Parallel()
	mixed := []lab.Mode{lab.Agent, lab.Watch, lab.Agent}
	jumpy := measured(1.04, mixed...)
	jumpy.Nodes[0].Answer = 200 * time.Millisecond
	for _, c := range []struct {
		of   []lab.Change
		want string
	}{
		{[]lab.Change{measured(1, mixed...), jumpy, measured(20, mixed...)}, `
3 changes, 3 nodes, ms    p50     p90     p99     max
catalog                   4.2    80.0    80.0    80.0
rendered                 36.4   700.0   700.0   700.0
published                52.0  1000.0  1000.0  1000.0
last file                83.2  1600.0  1600.0  1600.0
last answer             200.0  2000.0  2000.0  2000.0
kvexpress' share        163.6  1300.0  1300.0  1300.0

node     mode   file p50     p99  answer p50     p99     max  was last
node-01  agent      62.4  1200.0       200.0  1400.0  1400.0         1
node-02  watch      78.0  1500.0       104.0  2000.0  2000.0         2  ← slowest
node-03  agent      83.2  1600.0        93.6  1800.0  1800.0         0
`},
		{[]lab.Change{measured(0.9, lab.Template, lab.Template, lab.Template)}, `
1 change, 3 nodes, ms   p50   p90   p99   max
catalog                 3.6   3.6   3.6   3.6
last file              72.0  72.0  72.0  72.0
last answer            90.0  90.0  90.0  90.0

node     mode      file p50   p99  answer p50   p99   max  was last
node-01  template      54.0  54.0        63.0  63.0  63.0         0
node-02  template      67.5  67.5        90.0  90.0  90.0         1  ← slowest
node-03  template      72.0  72.0        81.0  81.0  81.0         0
`},
		{nil, "\nno changes\n"},
	} {
		if got := "\n" + lab.Table(c.of); got != c.want {
			t.Errorf("got:%s\nwant:%s", got, c.want)
		}
	}
}

func TestPercentilesAreTimesThatWereMeasured(t *testing.T) {
	t.Parallel()
	var times []time.Duration
	for i := range 50 {
		times = append(times, time.Duration(50-i)*time.Millisecond)
	}
	ms := time.Millisecond
	for _, c := range []struct {
		of   []time.Duration
		want lab.Percentiles
	}{
		{nil, lab.Percentiles{}},
		{times[:1], lab.Percentiles{1, 50 * ms, 50 * ms, 50 * ms, 50 * ms}},
		{times, lab.Percentiles{50, 25 * ms, 45 * ms, 50 * ms, 50 * ms}},
	} {
		if got := lab.Summarize(c.of); got != c.want {
			t.Errorf("of %d times: %+v, want %+v", len(c.of), got, c.want)
		}
	}
}
