package scale

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Result is a run of the scene.
type Result struct {
	changes []*version
	adHoc   *version
}

// Table has runs side by side, in milliseconds: medians over the changes.
func Table(names []string, runs []Result) string {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "\nms\t%s\n", strings.Join(names, "\t"))
	row := func(name string, of func(*version) float64) {
		fmt.Fprint(w, name)
		for _, r := range runs {
			var all []float64
			for _, v := range r.changes {
				all = append(all, of(v))
			}
			slices.Sort(all)
			fmt.Fprintf(w, "\t%.0f", all[len(all)/2])
		}
		fmt.Fprint(w, "\n")
	}
	waited := func(v *version) float64 { return float64(v.waited) / float64(time.Millisecond) }
	row("file in place, p50", func(v *version) float64 { return rank(v.seen, 50) })
	row("file in place, p99", func(v *version) float64 { return rank(v.seen, 99) })
	row("file in place, last", func(v *version) float64 { return rank(v.seen, 100) })
	row("exec done, last", func(v *version) float64 { return rank(v.done, 100) })
	row("in --wait 100%", waited)
	fmt.Fprint(w, "ad hoc, in --wait 100%")
	for _, r := range runs {
		fmt.Fprintf(w, "\t%.0f", waited(r.adHoc))
	}
	fmt.Fprint(w, "\n")
	_ = w.Flush() // to memory
	return text.String()
}
