package record

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"unicode/utf8"
)

// Checksum is the SHA-256 of the plain data in 64 lower-case hex digits.
func Checksum(plain []byte) string {
	sum := sha256.Sum256(plain)
	return hex.EncodeToString(sum[:])
}

// Lines counts lines as 1.x did, because the thresholds in people's command
// lines (-l) mean that: the number of newlines, or 1 if there is none. So a
// last line without a newline is not counted, and no data at all is one line.
func Lines(plain []byte) int {
	return max(1, bytes.Count(plain, []byte("\n")))
}

// NotSortable names the encoding of a text if its lines cannot be sorted by their bytes; "" if they can.
func NotSortable(plain []byte) string {
	begins := func(mark string) bool { return bytes.HasPrefix(plain, []byte(mark)) }
	switch {
	case begins("\xff\xfe\x00\x00"), begins("\x00\x00\xfe\xff"):
		return "UTF-32"
	case begins("\xff\xfe"), begins("\xfe\xff"):
		return "UTF-16"
	case bytes.IndexByte(plain, 0) >= 0:
		return "UTF-16 or no text (it has NUL bytes)"
	case begins("\xef\xbb\xbf"):
		return "UTF-8 with a byte order mark, which sorting moves"
	case !utf8.Valid(plain):
		return "not UTF-8"
	}
	return ""
}

// Sort sorts as 1.x did, byte for byte, so that both publish the same
// checksum: empty lines are dropped, the others sorted by their bytes, and the
// last one gets no newline. plain is not changed.
func Sort(plain []byte) []byte {
	var lines [][]byte
	for line := range bytes.SplitSeq(plain, []byte("\n")) {
		if len(line) > 0 {
			lines = append(lines, line)
		}
	}
	slices.SortFunc(lines, bytes.Compare)
	return bytes.Join(lines, []byte("\n"))
}
