package consulapi

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"kvexpress/internal/embedded"
)

// AnswerTime is how long a client may take to read an answer. The server that runs the handler has the same limit for
// requests that do not wait.
const AnswerTime = 2 * time.Minute

const (
	maxSent   = 64 << 20         // bytes of all large answers that are being sent
	large     = 64 << 10         // one of so many bytes is large
	turnTime  = 20 * time.Second // how long a large one waits for others
	chunkSize = 32 << 10         // of what is made before it is sent
	chunkTime = 5 * time.Second  // for a client to take a chunk: one that does not read makes room for others
)

// turn waits until there is room for an answer of that size, which has it until done. One that alone has more than all may
// have is sent alone. Who waits keeps no view of the store.
func (h *Handler) turn(r *request, size int) (done func(), err error) {
	weight := int64(min(size, maxSent))
	wait, cancel := context.WithTimeout(r.Context(), turnTime)
	defer cancel()
	if err := h.sent.Acquire(wait, weight); err != nil {
		return nil, status(http.StatusServiceUnavailable, "other large answers are being sent: try again, or ask for less")
	}
	return func() { h.sent.Release(weight) }, nil
}

// body sends JSON while it is made: a client that does not read costs a buffer, and not an answer.
type body struct {
	w     http.ResponseWriter
	end   time.Time // of the time to read it
	buf   []byte
	first bool  // of a list
	err   error // the client is gone: the rest is dropped
}

func newBody(w http.ResponseWriter, status int) *body {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	return &body{w: w, end: time.Now().Add(AnswerTime)}
}

func (b *body) flush() {
	if b.err == nil {
		limit := time.Now().Add(chunkTime)
		if b.end.Before(limit) {
			limit = b.end
		}
		_ = http.NewResponseController(b.w).SetWriteDeadline(limit) // if it fails, so does the write
		_, b.err = b.w.Write(b.buf)
	}
	b.buf = b.buf[:0]
}

func (b *body) text(t string) {
	b.buf = append(b.buf, t...)
	if len(b.buf) >= chunkSize {
		b.flush()
	}
}

func (b *body) number(n uint64) { b.buf = strconv.AppendUint(b.buf, n, 10) }

// list begins a list, and element one of its elements.
func (b *body) list() { b.text("["); b.first = true }

func (b *body) element() {
	if !b.first {
		b.text(",")
	}
	b.first = false
}

// quote adds a JSON string.
func (b *body) quote(s string) {
	quoted, _ := json.Marshal(s) // a string has no error
	b.text(string(quoted))
}

// row adds a row as Consul's JSON has it.
func (b *body) row(row *embedded.Row) {
	b.text(`{"LockIndex":0,"Key":`)
	b.quote(row.Path)
	b.text(`,"Flags":`)
	b.number(row.Flags)
	if value := row.Value; len(value) == 0 {
		b.text(`,"Value":null`)
	} else {
		b.text(`,"Value":"`)
		for part := 0; part < len(value) && b.err == nil; part += chunkSize / 4 * 3 {
			b.buf = base64.StdEncoding.AppendEncode(b.buf, value[part:min(part+chunkSize/4*3, len(value))])
			b.text("")
		}
		b.text(`"`)
	}
	b.text(`,"CreateIndex":`)
	b.number(row.CreateIndex)
	b.text(`,"ModifyIndex":`)
	b.number(row.ModifyIndex)
	b.text("}")
}
