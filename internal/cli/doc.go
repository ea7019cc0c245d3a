// Package cli owns the command line: one file per command, the flags with their
// old spellings, and the one table from an error to its exit code. It wires the
// other packages together and decides nothing that they could. Nothing imports it
// but cmd/kvexpress.
package cli
