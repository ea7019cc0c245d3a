package config

import "strings"

// Nearest suggests the candidate that differs in the fewest letters, at most two side by side and one in a short word, else the
// only one with the word as its prefix, else "". Upper case and dashes for underscores do not count.
func Nearest(word string, of []string) string {
	fold := func(s string) string { return strings.ReplaceAll(strings.ToLower(s), "-", "_") }
	folded := fold(word)
	best, least := "", min(2, (len(folded)+1)/3)+1
	begin, begins := "", 0
	for _, candidate := range of {
		c := fold(candidate)
		if d := apart(folded, c); d < least {
			best, least = candidate, d
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

// apart counts the letters between the common beginning and the common end of two words. Two swapped letters are one.
func apart(a, b string) int {
	for a != "" && b != "" && a[0] == b[0] {
		a, b = a[1:], b[1:]
	}
	for a != "" && b != "" && a[len(a)-1] == b[len(b)-1] {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	if len(a) == 2 && len(b) == 2 && a[0] == b[1] && a[1] == b[0] {
		return 1
	}
	return max(len(a), len(b))
}
