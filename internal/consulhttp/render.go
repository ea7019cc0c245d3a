package consulhttp

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strconv"

	"kvexpress/internal/store/local"
)

// appendRow appends a row as Consul's JSON has it. It is written by hand because it is what most
// answers consist of.
func appendRow(b []byte, row *local.Row) []byte {
	b = append(b, `{"LockIndex":`...)
	b = strconv.AppendUint(b, row.LockIndex, 10)
	b = append(b, `,"Key":`...)
	b = appendString(b, row.Path)
	b = append(b, `,"Flags":`...)
	b = strconv.AppendUint(b, row.Flags, 10)
	b = append(b, `,"Value":`...)
	if len(row.Value) == 0 {
		b = append(b, "null"...)
	} else {
		b = append(b, '"')
		b = base64.StdEncoding.AppendEncode(b, row.Value)
		b = append(b, '"')
	}
	if row.Session != "" {
		b = append(b, `,"Session":`...)
		b = appendString(b, row.Session)
	}
	b = append(b, `,"CreateIndex":`...)
	b = strconv.AppendUint(b, row.CreateIndex, 10)
	b = append(b, `,"ModifyIndex":`...)
	b = strconv.AppendUint(b, row.ModifyIndex, 10)
	return append(b, '}')
}

// appendString appends a JSON string as encoding/json writes it.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			quoted, err := json.Marshal(s)
			if err != nil { // a string has none
				return append(b, `""`...)
			}
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// indent appends JSON as people read it. Lines after the first begin with prefix.
func indent(b, compact []byte, prefix string) []byte {
	buf := bytes.NewBuffer(b)
	if err := json.Indent(buf, compact, prefix, "    "); err != nil { // it is ours, and sound
		return append(b, compact...)
	}
	return buf.Bytes()
}
