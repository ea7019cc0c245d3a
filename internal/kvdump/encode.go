package kvdump

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"io"
	"strconv"

	"kvexpress/internal/kv"
)

// Encode writes rows as `consul kv export` does, to the byte, with a line break at
// the end.
func Encode(w io.Writer, rows []kv.Row) error {
	out := bufio.NewWriterSize(w, 64<<10)
	end := "[]\n"
	for i, row := range rows {
		name, err := json.Marshal(row.Path)
		if err != nil {
			return err
		}
		begin := ",\n\t{\n\t\t\"key\": "
		if i == 0 {
			begin = "[" + begin[1:]
			end = "\n]\n"
		}
		var b []byte
		b = append(append(b, begin...), name...)
		b = strconv.AppendUint(append(b, ",\n\t\t\"flags\": "...), row.Flags, 10)
		b = base64.StdEncoding.AppendEncode(append(b, ",\n\t\t\"value\": \""...), row.Value)
		if _, err := out.Write(append(b, "\"\n\t}"...)); err != nil {
			return err
		}
	}
	if _, err := out.WriteString(end); err != nil {
		return err
	}
	return out.Flush()
}
