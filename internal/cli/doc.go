// Package cli owns the command line: one file per command, which turns flags into a call and the
// result into a report. It also owns the old spellings of 1.x and the table of exit codes. Printing
// is in cli/render. cli connects the other packages; only cmd/kvexpress imports it.
package cli
