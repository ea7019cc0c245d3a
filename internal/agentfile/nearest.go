package agentfile

import "strings"

// maxWord is the longest word for which a nearest one is looked for, in bytes: no
// name of ours is as long.
const maxWord = 64

// Nearest is the word that was probably meant: the one in of that is fewest edits
// (a letter added, left out, changed, or two swapped) away, at most two and fewer
// for short words, or else the only one that begins with it. Capitals, and dashes
// for underscores, are no edits. It is "" if there is none.
func Nearest(word string, of []string) string {
	if len(word) > maxWord {
		return ""
	}
	fold := func(s string) string { return strings.ReplaceAll(strings.ToLower(s), "-", "_") }
	folded := fold(word)
	best, least := "", min(2, (len(folded)+1)/3)+1
	begin, begins := "", 0
	for _, candidate := range of {
		c := fold(candidate)
		if apart := len(c) - len(folded); apart < least && -apart < least {
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

// edits counts the edits between two words, byte by byte, each place being edited
// once.
func edits(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
