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
	weight := int64(min(size, maxSent))
	wait, cancel := context.WithTimeout(r.Context(), turnTime)
	defer cancel()
	if err := h.sent.Acquire(wait, weight); err != nil {
		return nil, status(http.StatusServiceUnavailable, "too many large answers are being sent; try again, or request fewer rows")
	}
	return func() { h.sent.Release(weight) }, nil
}

// body streams JSON, so that a slow client costs a buffer, not a whole answer.
type body struct {
	w     http.ResponseWriter
	end   time.Time // of the time limit
	buf   []byte
	first bool  // element of a list
	err   error // the client has disconnected: the rest is dropped
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

// row adds a row in Consul's JSON format.
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
