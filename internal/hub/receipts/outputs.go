package receipts

import (
	"slices"
	"strings"

	"kvexpress/internal/fleet"
)

// maxShown limits the outputs in one page, in bytes.
const maxShown = 16 << 20

// output is the output of a failed command, beside the receipt: no row of the store has it.
type output struct {
	of   fleet.Target // as it was reported with the output
	text string
}

// keep replaces the outputs of a row, after its receipt. size is the bytes of all that agents sent for the row; false: there is
// no room. mu is held.
func (t *Table) keep(r *row, outputs []fleet.Output, size int) bool {
	if t.taken-r.size+size > maxTaken {
		return false
	}
	t.taken += size - r.size
	r.size, r.outputs = size, nil
	for _, o := range outputs {
		if i, ok := target(r.receipt, o.File); ok && r.receipt.Targets[i].Key == o.Key && o.Text != "" {
			r.outputs = append(r.outputs, output{r.receipt.Targets[i], fleet.NewOutput(o.Key, o.File, o.Text).Text})
		}
	}
	return true
}

// shown are the outputs that the receipt still is about: once the target has recovered, or failed in another way, they are gone.
// mu is held.
func (r *row) shown() (shown []fleet.Output) {
	for _, o := range r.outputs {
		if i, ok := target(r.receipt, o.of.File); ok && fleet.Same(r.receipt.Targets[i], o.of) {
			shown = append(shown, fleet.Output{Key: o.of.Key, File: o.of.File, Text: o.text})
		}
	}
	return shown
}

// target finds the target of a file.
func target(r fleet.Receipt, file string) (int, bool) {
	return slices.BinarySearchFunc(r.Targets, file, func(t fleet.Target, file string) int { return strings.Compare(t.File, file) })
}

// size is the bytes of outputs.
func size(outputs []fleet.Output) (n int) {
	for _, o := range outputs {
		n += len(o.Key) + len(o.File) + len(o.Text)
	}
	return n
}
