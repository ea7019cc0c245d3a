//go:build linux

package lab

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"
)

// Table tells what became of changes, for people: how long they took to each stage, and
// to the file and the DNS answer of each node, in milliseconds. All changes must be of
// one fleet.
func Table(changes []Change) string {
	if len(changes) == 0 {
		return "no changes\n"
	}
	stages, nodes := Stages(changes), byNode(changes)
	stageRows := [][]string{{fmt.Sprintf("%s, %s, ms", counted(len(changes), "change"), counted(len(nodes), "node")), "p50", "p90", "p99", "max"}}
	for _, stage := range stages {
		p := stage.Percentiles(changes)
		stageRows = append(stageRows, []string{stage.Name, millis(p.P50), millis(p.P90), millis(p.P99), millis(p.Max)})
	}
	slowest := 0
	for i, n := range nodes {
		if n.answer.Max > nodes[slowest].answer.Max {
			slowest = i
		}
	}
	nodeRows := [][]string{{"node", "mode", "file p50", "p99", "answer p50", "p99", "max", "was last", ""}}
	for i, n := range nodes {
		note := ""
		if i == slowest && len(nodes) > 1 {
			note = "← slowest"
		}
		nodeRows = append(nodeRows, []string{n.name, string(n.mode), millis(n.file.P50), millis(n.file.P99),
			millis(n.answer.P50), millis(n.answer.P99), millis(n.answer.Max), fmt.Sprint(n.last), note})
	}
	return align(stageRows, 1) + "\n" + align(nodeRows, 2)
}

// align makes columns of rows: so many on the left are words, the others numbers.
func align(rows [][]string, words int) string {
	wide := make([]int, words)
	for _, row := range rows {
		for i := range words {
			wide[i] = max(wide[i], len(row[i]))
		}
	}
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, row := range rows {
		for i, cell := range row {
			if i < words {
				cell = fmt.Sprintf("%-*s", wide[i], cell)
			}
			_, _ = fmt.Fprint(w, cell, "\t") // to memory, as Flush
		}
		_, _ = fmt.Fprintln(w)
	}
	_ = w.Flush()
	var lines strings.Builder
	for line := range strings.Lines(text.String()) {
		lines.WriteString(strings.TrimRight(line[2:], " \n") + "\n") // AlignRight pads the first column too
	}
	return lines.String()
}

// nodeTimes are what changes took to a node.
type nodeTimes struct {
	name         string
	mode         Mode // at the last change
	file, answer Percentiles
	last         int // how often it was the last one to answer
}

// byNode sums up changes for each node, in the order of the first change.
func byNode(changes []Change) []nodeTimes {
	files, answers := map[string][]time.Duration{}, map[string][]time.Duration{}
	modes, last := map[string]Mode{}, map[string]int{}
	for _, c := range changes {
		for _, n := range c.Nodes {
			files[n.Node] = append(files[n.Node], n.File)
			answers[n.Node] = append(answers[n.Node], n.Answer)
			modes[n.Node] = n.Mode
			if n.Answer == c.Last() {
				last[n.Node]++
			}
		}
	}
	all := make([]nodeTimes, len(changes[0].Nodes))
	for i, n := range changes[0].Nodes {
		all[i] = nodeTimes{n.Node, modes[n.Node], Summarize(files[n.Node]), Summarize(answers[n.Node]), last[n.Node]}
	}
	return all
}

// millis has one digit after the point: the lab's looks are exact to 2 ms at best.
func millis(d time.Duration) string { return fmt.Sprintf("%.1f", float64(d)/float64(time.Millisecond)) }

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
