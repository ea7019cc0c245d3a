package render

import (
	"os"

	"golang.org/x/sys/unix"
)

// Colours of a terminal, for Paint.
const (
	Bold   = "1"
	Red    = "31"
	Green  = "32"
	Yellow = "33"
	Cyan   = "36"
)

// Paint colours a text if colour is set.
func Paint(colour bool, code, text string) string {
	if !colour {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// IsTerminal reports whether a reader or writer is a terminal.
func IsTerminal(w any) bool {
	_, ok := Columns(w)
	return ok
}

// Columns is the width of a terminal, or 0 if the terminal does not know it. ok is false for anything else.
func Columns(w any) (n int, ok bool) {
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
