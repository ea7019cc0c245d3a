package agentfile

import (
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"kvexpress/internal/kv"
)

// parseMode reads a file mode: up to four octal digits, with or without zeros or
// 0o before them. So 0644 and 644 mean the same, whether YAML takes them for
// numbers or not. Three digits that only make sense as a decimal number, such as
// 420 for 0644, are refused: programs that write YAML turn modes into them.
func parseMode(s string) (*fs.FileMode, error) {
	digits := strings.TrimPrefix(s, "0o")
	octal, err := strconv.ParseUint(digits, 8, 32)
	good := err == nil && octal <= 0o7777
	ten, err := strconv.ParseUint(s, 10, 32)
	if err == nil && len(s) == 3 && s[0] != '0' && ten <= 0o777 && nested(ten) && (!good || !nested(octal)) {
		return nil, fmt.Errorf("%s looks like a decimal number, and modes are octal; write %q", s, fmt.Sprintf("%04o", ten))
	}
	if !good {
		return nil, fmt.Errorf("%s is not a mode; give octal digits such as \"0644\"", kv.Quote(s))
	}
	mode := fs.FileMode(octal & 0o777)
	if octal&0o4000 != 0 {
		mode |= fs.ModeSetuid
	}
	if octal&0o2000 != 0 {
		mode |= fs.ModeSetgid
	}
	if octal&0o1000 != 0 {
		mode |= fs.ModeSticky
	}
	return &mode, nil
}

// nested reports whether others may do nothing that the group may not, and the
// group nothing that the owner may not, as in modes that people mean.
func nested(mode uint64) bool {
	owner, group, other := mode>>6&7, mode>>3&7, mode&7
	return group&^owner == 0 && other&^group == 0
}
