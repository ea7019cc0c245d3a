package consulapi

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"time"

	"kvexpress/internal/embedded"
)

// AnswerTime limits how long a client may take to read an answer. The server has the same limit for requests that do not block.
const AnswerTime = 2 * time.Minute

const (
	maxSent   = 64 << 20         // bytes of all large answers in transfer
	large     = 64 << 10         // bytes of a large answer
	turnTime  = 20 * time.Second // how long a large answer waits for others
	chunkSize = 32 << 10         // bytes of the send buffer
	chunkTime = 5 * time.Second  // for a client to accept a chunk; a slow one is disconnected
)

// turn reserves bytes for a large answer until done. An answer above maxSent is sent alone. A waiting request must keep no view
// of the store: it would keep old rows in memory.
func (h *Handler) turn(r *request, size int) (done func(), err error) {
	if size < large {
		return func() {}, nil
	}
	weight := int64(min(size, maxSent))
	wait, cancel := context.WithTimeout(r.Context(), turnTime)
	defer cancel()
	if err := h.sent.Acquire(wait, weight); err != nil {
		return nil, status(http.StatusServiceUnavailable, "too many large answers are being sent; try again, or request fewer rows")
	}
	return func() { h.sent.Release(weight) }, nil
}

// sizeOf is the size of a row in an answer, in bytes.
func sizeOf(row *embedded.Row) int { return len(row.Path) + len(row.Value) + 128 }

// stream sends a JSON list between two texts; put writes an item. A slow client costs a buffer, not a whole answer.
func stream[T any](w http.ResponseWriter, code int, begin string, items iter.Seq[T], put func(*bufio.Writer, T), end string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	out := bufio.NewWriterSize(newChunks(w), chunkSize) // it keeps its first error
	_, _ = out.WriteString(begin + "[")
	comma := ""
	for item := range items {
		if _, err := out.WriteString(comma); err != nil {
			return // the client has disconnected
		}
		put(out, item)
		comma = ","
	}
	_, _ = out.WriteString("]" + end)
	_ = out.Flush() // on an error, the client has disconnected
}

func putJSON[T any](out *bufio.Writer, value T) {
	b, _ := json.Marshal(value) // texts and numbers have no error
	_, _ = out.Write(b)
}

// putResult writes a row as a result of a transaction.
func putResult(out *bufio.Writer, row *embedded.Row) {
	_, _ = out.WriteString(`{"KV":`)
	putRow(out, row)
	_ = out.WriteByte('}')
}

// putRow writes a row in Consul's JSON format.
func putRow(out *bufio.Writer, row *embedded.Row) {
	key, _ := json.Marshal(row.Path) // a text has no error
	fmt.Fprintf(out, `{"LockIndex":0,"Key":%s,"Flags":%d,"CreateIndex":%d,"ModifyIndex":%d,"Value":`,
		key, row.Flags, row.CreateIndex, row.ModifyIndex)
	if len(row.Value) == 0 {
		_, _ = out.WriteString("null}")
		return
	}
	_ = out.WriteByte('"')
	packed := base64.NewEncoder(base64.StdEncoding, out)
	_, _ = packed.Write(row.Value)
	_ = packed.Close()
	_, _ = out.WriteString(`"}`)
}

// chunks is a client that has chunkTime for each chunk.
type chunks struct {
	w   http.ResponseWriter
	end time.Time // of the whole answer
}

func newChunks(w http.ResponseWriter) *chunks { return &chunks{w, time.Now().Add(AnswerTime)} }

func (c *chunks) Write(b []byte) (n int, err error) {
	for chunk := range slices.Chunk(b, chunkSize) {
		limit := time.Now().Add(chunkTime)
		if c.end.Before(limit) {
			limit = c.end
		}
		_ = http.NewResponseController(c.w).SetWriteDeadline(limit) // if it fails, so does the write
		written, err := c.w.Write(chunk)
		if n += written; err != nil {
			return n, err
		}
	}
	return n, nil
}
