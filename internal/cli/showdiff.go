package cli

import (
	"bytes"
	"fmt"
	"os"
	"strings"

	"github.com/aymanbagabas/go-udiff"
	"golang.org/x/sys/unix"
)

// maxDiff is the most bytes of either side that are compared line by line.
const maxDiff = 2 << 20

// showDiff prints a unified diff, in colour on a terminal.
func (s *session) showDiff(from, to string, before, after []byte) error {
	if s.g.json || bytes.Equal(before, after) {
		return nil
	}
	var shown bytes.Buffer
	text, why := unified(from, to, before, after)
	if why != "" {
		fmt.Fprintln(&shown, sizes(why, before, after))
	}
	colour := s.colour()
	for line := range strings.Lines(text) {
		code := diffColour(line)
		fmt.Fprintln(&shown, paint(colour && code != "", code, printableLine(line)))
	}
	if _, err := s.Stdout.Write(shown.Bytes()); err != nil {
		return fmt.Errorf("print the difference: %w", err)
	}
	return nil
}

// unified is the difference of two texts, or why it cannot be shown.
func unified(from, to string, before, after []byte) (text, why string) {
	switch {
	case bytes.IndexByte(before, 0) >= 0 || bytes.IndexByte(after, 0) >= 0:
		return "", "binary content differs"
	case len(before) > maxDiff || len(after) > maxDiff:
		return "", "the content differs, and is too large for a diff"
	}
	return udiff.Unified(from, to, string(before), string(after)), ""
}

// sizes is what can be said of a difference that cannot be shown.
func sizes(why string, before, after []byte) string {
	return fmt.Sprintf("%s: %s before, %s after", why, plural(len(before), "byte"), plural(len(after), "byte"))
}

// eventDiff is the text of 1.x's event: a diff without the two names and the first position.
func eventDiff(before, after []byte) string {
	text, why := unified("", "", before, after)
	if why != "" {
		return sizes(why, before, after)
	}
	for range 3 {
		_, text, _ = strings.Cut(text, "\n")
	}
	return text
}

// printableLine is a line without its end, whose tabs stay.
func printableLine(line string) string {
	cells := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
	for i, cell := range cells {
		cells[i] = printable(cell)
	}
	return strings.Join(cells, "\t")
}

// diffColour is that of a line of a diff.
func diffColour(line string) string {
	switch {
	case strings.HasPrefix(line, "+++"), strings.HasPrefix(line, "---"):
		return bold
	case strings.HasPrefix(line, "@@"):
		return cyan
	case strings.HasPrefix(line, "+"):
		return green
	case strings.HasPrefix(line, "-"):
		return red
	}
	return ""
}

// colour is for terminals, and never with NO_COLOR.
func (a *App) colour() bool {
	if a.inside != nil {
		return a.inside.colour
	}
	return a.Getenv("NO_COLOR") == "" && a.Getenv("TERM") != "dumb" && isTerminal(a.Stdout)
}

func isTerminal(w any) bool {
	_, ok := columns(w)
	return ok
}

// columns is the width of a terminal, 0 if the terminal does not know. ok is false for anything else.
func columns(w any) (n int, ok bool) {
	f, ok := w.(*os.File)
	if !ok {
		return 0, false
	}
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0, false
	}
	return int(size.Col), true
}
