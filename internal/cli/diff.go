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
func (s *session) showDiff(from, to string, before, after []byte) {
	if s.g.json || bytes.Equal(before, after) {
		return
	}
	switch {
	case bytes.IndexByte(before, 0) >= 0 || bytes.IndexByte(after, 0) >= 0:
		fmt.Fprintf(s.Stdout, "binary content differs: %s before, %s after\n", plural(len(before), "byte"), plural(len(after), "byte"))
		return
	case len(before) > maxDiff || len(after) > maxDiff:
		fmt.Fprintf(s.Stdout, "the content differs, and is too large for a diff: %s before, %s after\n", plural(len(before), "byte"), plural(len(after), "byte"))
		return
	}
	text := udiff.Unified(from, to, string(before), string(after))
	colour := s.colour()
	for line := range strings.Lines(text) {
		cells := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		for i, cell := range cells {
			cells[i] = printable(cell)
		}
		fmt.Fprintln(s.Stdout, paint(strings.Join(cells, "\t"), colour))
	}
}

func paint(line string, colour bool) string {
	if !colour {
		return line
	}
	var code string
	switch {
	case strings.HasPrefix(line, "+++"), strings.HasPrefix(line, "---"):
		code = "1"
	case strings.HasPrefix(line, "@@"):
		code = "36"
	case strings.HasPrefix(line, "+"):
		code = "32"
	case strings.HasPrefix(line, "-"):
		code = "31"
	default:
		return line
	}
	return "\x1b[" + code + "m" + line + "\x1b[0m"
}

// colour is for terminals, and never with NO_COLOR.
func (a *App) colour() bool {
	return a.Getenv("NO_COLOR") == "" && a.Getenv("TERM") != "dumb" && isTerminal(a.Stdout)
}

func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	return err == nil
}
