package config

import "strings"

// Nearest suggests the candidate with the fewest edits, at most two and fewer for short words, else the only one with
// the word as its prefix, else "". Upper case and dashes for underscores are not edits.
func Nearest(word string, of []string) string {
	fold := func(s string) string { return strings.ReplaceAll(strings.ToLower(s), "-", "_") }
	folded := fold(word)
	best, least := "", min(2, (len(folded)+1)/3)+1
	begin, begins := "", 0
	for _, candidate := range of {
		c := fold(candidate)
		if longer := len(c) - len(folded); longer < least && -longer < least { // a very long word costs nothing
			if d := edits(folded, c); d < least {
				best, least = candidate, d
			}
		}
		if len(folded) >= 3 && strings.HasPrefix(c, folded) {
			begin, begins = candidate, begins+1
		}
	}
	if best == "" && begins == 1 {
		return begin
	}
	return best
}

// edits counts added, missing, changed and swapped letters.
func edits(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := last[j-1]
			if a[i-1] != b[j-1] {
				change++
			}
			row[j] = min(last[j]+1, row[j-1]+1, change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
