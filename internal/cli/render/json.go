package render

import (
	"bytes"
	"encoding/json"
	"fmt"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// JSON is one object: the fields of a report, which may be nil, with "exit_code" and, if a command failed, "error".
func JSON(report any, failed string, code int) ([]byte, error) {
	fields := map[string]any{}
	if report != nil {
		// Through JSON, so that the report's tags decide. A float64 has no room for all digits of
		// a version, so numbers stay text.
		b, err := json.Marshal(report)
		if err != nil {
			return nil, err
		}
		dec := json.NewDecoder(bytes.NewReader(b))
		dec.UseNumber()
		if err := dec.Decode(&fields); err != nil {
			return nil, err
		}
	}
	fields["exit_code"] = code
	if failed != "" {
		fields["error"] = failed
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(fields); err != nil {
		return nil, err
	}
	return PrintableJSON(out.Bytes()), nil
}

// PrintableJSON escapes characters that do not print, but that JSON allows in strings: a terminal
// may obey U+009B as it obeys ESC [.
func PrintableJSON(text []byte) []byte {
	var b []byte
	for _, r := range string(text) {
		switch {
		case r == '\n' || r == '\t' || unicode.IsPrint(r): // JSON has no bare tab in a string
			b = utf8.AppendRune(b, r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			b = fmt.Appendf(b, `\u%04x\u%04x`, high, low)
		default:
			b = fmt.Appendf(b, `\u%04x`, r)
		}
	}
	return b
}
