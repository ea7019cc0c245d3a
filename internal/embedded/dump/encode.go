package dump

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"io"

	"kvexpress/internal/kv"
)

// Encode writes rows as `consul kv export` does, to the byte, with a line break at
// the end.
func Encode(w io.Writer, rows []kv.Row) error {
	out := bufio.NewWriterSize(w, 64<<10) // which keeps its first error
	next, end := "[\n\t", "[]\n"
	for _, row := range rows {
		b, err := json.MarshalIndent(struct {
			Key   string `json:"key"`
			Flags uint64 `json:"flags"`
			Value string `json:"value"`
		}{row.Path, row.Flags, base64.StdEncoding.EncodeToString(row.Value)}, "\t", "\t")
		if err != nil {
			return err
		}
		_, _ = out.WriteString(next)
		_, _ = out.Write(b)
		next, end = ",\n\t", "\n]\n"
	}
	_, _ = out.WriteString(end)
	return out.Flush()
}
