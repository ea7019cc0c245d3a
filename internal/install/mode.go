package install

import (
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"kvexpress/internal/atomicfile"
)

// ParseMode parses a file mode: octal, with or without a leading zero. 1.x took numbers without it for decimal. Those that are
// meant like that, such as 420 for 0644, are decimal here too.
func ParseMode(s string) (mode fs.FileMode, decimal bool, err error) {
	digits := strings.TrimPrefix(s, "0o")
	octal, err := strconv.ParseUint(digits, 8, 32)
	isOctal := err == nil && octal <= 0o7777
	ten, err := strconv.ParseUint(s, 10, 32)
	isTen := err == nil && !strings.HasPrefix(s, "0") && ten <= 0o777 && nested(ten)
	switch {
	case isTen && (!isOctal || !nested(octal)):
		return fs.FileMode(ten), true, nil
	case isOctal:
		return toMode(octal), false, nil
	}
	return 0, false, fmt.Errorf("%.20q is not a mode; give an octal number such as 0644", s)
}

// nested reports whether the group has no right that the owner lacks, and others none that the group lacks. Modes that people
// mean are like that; 416 in octal is not.
func nested(mode uint64) bool {
	owner, group, other := mode>>6&7, mode>>3&7, mode&7
	return mode <= 0o7777 && group&^owner == 0 && other&^group == 0
}

// toMode turns the kernel's bits into Go's.
func toMode(bits uint64) fs.FileMode {
	mode := fs.FileMode(bits & 0o777)
	for bit, m := range map[uint64]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if bits&bit != 0 {
			mode |= m
		}
	}
	return mode & atomicfile.ModeBits
}
