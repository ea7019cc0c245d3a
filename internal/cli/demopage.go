package cli

import (
	"fmt"
	"io"
	"strings"
	"time"

	"kvexpress/internal/fleet"
)

// inside is where the commands of a demo run, in the place of what the environment says.
type inside struct {
	addr   string    // of the demo's store
	screen io.Writer // the terminal; nil: there is none
	colour bool
}

// page is what a demo is written on.
type page struct {
	to              io.Writer
	colours, blocks bool
	err             error // of the first line that could not be written
}

func (p *page) print(text string) {
	if _, err := fmt.Fprintln(p.to, text); err != nil && p.err == nil {
		p.err = err
	}
}

func (p *page) paint(code, text string) string { return paint(p.colours, code, text) }

// chapter begins one.
func (p *page) chapter(format string, args ...any) {
	p.print("")
	p.print(p.paint(bold, fmt.Sprintf(format, args...)))
}

// note says what is to be known of what is shown.
func (p *page) note(format string, args ...any) { p.print("  " + fmt.Sprintf(format, args...)) }

// command shows one that is about to run, as a shell takes it.
func (p *page) command(args []string) {
	words := []string{"kvexpress"}
	for _, arg := range args {
		if strings.ContainsAny(arg, " ;'") {
			arg = "'" + arg + "'"
		}
		words = append(words, arg)
	}
	p.print("  " + p.paint(cyan, "$ "+strings.Join(words, " ")))
}

// output shows what a command has printed.
func (p *page) output(text string) {
	for line := range strings.Lines(text) {
		p.print(strings.TrimRight("    "+strings.TrimSuffix(line, "\n"), " "))
	}
}

const histogramWidth = 40

// histogram draws how long it took to the nodes, the shortest first. named tells what is
// to be said of a node, "" for nothing.
func (p *page) histogram(all []fleet.Delivery, named func(node string) string) {
	bins := binned(all)
	most := 0
	for _, b := range bins {
		most = max(most, len(b.nodes))
	}
	block := "#"
	if p.blocks {
		block = "█"
	}
	rows := [][]string{}
	empty := 0
	for _, b := range bins {
		if len(b.nodes) == 0 {
			empty++
			continue
		}
		if empty > 0 {
			rows = append(rows, []string{"...", "", ""})
		}
		empty = 0
		width := max(1, len(b.nodes)*histogramWidth/most)
		what := []string{fmt.Sprint(len(b.nodes))}
		for _, node := range b.nodes {
			if text := named(node); text != "" {
				what = append(what, text)
			}
		}
		rows = append(rows, []string{b.label(), strings.Repeat(block, width) + " " + strings.Join(what, "  ")})
	}
	widest := 0
	for _, row := range rows {
		widest = max(widest, len(row[0]))
	}
	for _, row := range rows {
		p.print(strings.TrimRight(fmt.Sprintf("    %*s  %s", widest, row[0], row[1]), " "))
	}
}

// bin is a row of a histogram.
type bin struct {
	from, to time.Duration
	nodes    []string
}

func (b bin) label() string {
	if b.from == 0 {
		return "up to " + took(b.to)
	}
	return took(b.from) + " to " + took(b.to)
}

// binned puts times into rows that grow with them, from the first that has one to the
// last.
func binned(all []fleet.Delivery) []bin {
	var bins []bin
	from := time.Duration(0)
	for at, unit := 0, time.Millisecond; at < len(all); unit *= 10 {
		for _, tenths := range []int{10, 15, 20, 30, 50, 70} {
			b := bin{from: from, to: time.Duration(tenths) * (unit / 10)}
			for at < len(all) && all[at].Took <= b.to {
				b.nodes = append(b.nodes, all[at].Node)
				at++
			}
			from = b.to
			if len(bins) > 0 || len(b.nodes) > 0 {
				bins = append(bins, b)
			}
			if at == len(all) {
				break
			}
		}
	}
	return bins
}
