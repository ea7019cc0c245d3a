package cli

import (
	"fmt"
	"io/fs"

	"kvexpress/internal/install"
)

// modeValue is the flag -c; see install.ParseMode.
type modeValue struct {
	text    string
	mode    *fs.FileMode
	warning string
}

func (v *modeValue) String() string { return v.text }
func (v *modeValue) Type() string   { return "mode" }

func (v *modeValue) Set(s string) error {
	mode, decimal, err := install.ParseMode(s)
	if err != nil {
		return err
	}
	v.text, v.mode, v.warning = s, &mode, ""
	if decimal {
		v.warning = fmt.Sprintf("-c %s is read as decimal, as in 1.x: %04o in octal; write -c %04[2]o", s, mode.Perm())
	}
	return nil
}
