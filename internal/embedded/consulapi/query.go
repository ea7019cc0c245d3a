package consulapi

import (
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	"kvexpress/internal/embedded"
)

// The limits of a wait, which are Consul's.
const (
	defaultWait = 300 * time.Second
	maxWait     = 600 * time.Second
	jitterPart  = 16 // a wait is longer by up to this part, so that not all end at once
)

// question is what a GET asks of a view.
type question struct {
	r      *request
	key    string
	topic  embedded.Topic
	answer func(embedded.View) answer
}

// answer is what a view says to a question. To make it costs little, to write it may cost much.
type answer struct {
	err   error  // of a token that may not ask; the rest is empty then
	index uint64 // X-Consul-Index
	size  int    // of rows, if they are read while they are sent
	write func(w http.ResponseWriter)
}

// query answers a GET: at once, or when there is something that the client has not seen, or
// when its wait is over.
func (h *Handler) query(w http.ResponseWriter, r *request, key string) error {
	if r.has("stale") && r.has("consistent") {
		return status(http.StatusBadRequest, "Cannot specify ?stale with ?consistent, conflicting semantics.")
	}
	var wait time.Duration
	if text := r.params.Get("wait"); text != "" {
		var err error
		if wait, err = time.ParseDuration(text); err != nil {
			return status(http.StatusBadRequest, "Invalid wait time")
		}
	}
	index, err := uint64(0), error(nil)
	if r.params.Get("index") != "" {
		index, err = r.number("index")
	}
	if err != nil {
		return err
	}
	if index > 0 && r.grant.anonymous() {
		return status(http.StatusForbidden, "Permission denied: a blocking query needs a token")
	}
	q := &question{r: r, key: key, topic: embedded.PrefixTopic(key)}
	switch {
	case r.has("keys"):
		q.answer = h.keys(q)
	case r.has("recurse"):
		q.answer = h.list(q)
	default:
		q.topic, q.answer = embedded.KeyTopic(key), h.row(q)
	}
	a, err := h.await(w, q, index, wait)
	if err != nil {
		panic(http.ErrAbortHandler) //nolint:forbidigo // the client has gone, or the server ends: so net/http sends no answer
	}
	if size := a.size; size >= large {
		done, err := h.turn(r, size) // which keeps no view: a is asked for once more
		if err != nil {
			return err
		}
		defer done()
		a = q.answer(h.engine.View())
	}
	if a.err != nil {
		return a.err
	}
	w.Header().Set("X-Consul-Index", strconv.FormatUint(a.index, 10))
	setContact(w)
	a.write(w)
	return nil
}

// await asks until the answer is worth sending: Consul's rule.
func (h *Handler) await(w http.ResponseWriter, q *question, index uint64, wait time.Duration) (a answer, err error) {
	if index == 0 {
		return q.answer(h.engine.View()), nil
	}
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Time{}) // that of the request would end the wait; if it fails, the client has gone
	err = h.engine.Await(q.r.Context(), q.topic, waitFor(wait), func(v embedded.View) bool {
		a = q.answer(v)
		return a.err != nil || a.index > index
	})
	_ = control.SetWriteDeadline(time.Now().Add(AnswerTime)) // if it fails, so does the write
	return a, err
}

// waitFor is how long a client waits that asks for this.
func waitFor(asked time.Duration) time.Duration {
	if asked <= 0 {
		asked = defaultWait
	}
	asked = min(asked, maxWait)
	return asked + rand.N(asked/jitterPart+1)
}

// row asks for one row.
func (h *Handler) row(q *question) func(embedded.View) answer {
	return func(v embedded.View) answer {
		if err := q.r.grant.keyRead(q.key); err != nil {
			return answer{err: err}
		}
		row := v.Get(q.key)
		if row == nil {
			return answer{index: v.Index(), write: nothing}
		}
		return answer{index: row.ModifyIndex, write: func(w http.ResponseWriter) {
			if q.r.has("raw") { // a value may be anything: no browser is to run it
				w.Header().Set("Content-Type", "text/plain; charset=utf-8")
				w.Header().Set("X-Content-Type-Options", "nosniff")
				w.Header().Set("Content-Length", strconv.Itoa(len(row.Value)))
				_, _ = w.Write(row.Value) // the client may be gone
				return
			}
			b := newBody(w, http.StatusOK)
			b.text("[")
			b.row(row)
			b.text("]")
			b.flush()
		}}
	}
}

// nothing answers that there is nothing.
func nothing(w http.ResponseWriter) { w.WriteHeader(http.StatusNotFound) }

// list asks for all rows below a prefix.
func (h *Handler) list(q *question) func(embedded.View) answer {
	return h.below(q, (*embedded.Row).Size, func(b *body, rows func(func(*embedded.Row) bool)) {
		b.list()
		for row := range rows {
			b.element()
			b.row(row)
		}
		b.text("]")
	})
}

// keys asks for their keys, each cut after the separator.
func (h *Handler) keys(q *question) func(embedded.View) answer {
	separator := q.r.params.Get("separator")
	size := func(row *embedded.Row) int { return len(row.Path) + len(`"",`) }
	return h.below(q, size, func(b *body, rows func(func(*embedded.Row) bool)) {
		last, first := "", true
		b.list()
		for row := range rows {
			key := row.Path
			if before, _, cut := strings.Cut(key[len(q.key):], separator); cut && separator != "" {
				key = key[:len(q.key)+len(before)+len(separator)]
			}
			if !first && key == last { // those with one beginning stand together
				continue
			}
			last, first = key, false
			b.element()
			b.quote(key)
		}
		b.text("]")
	})
}

// below asks for rows below a prefix, of which write makes an answer. sizeOf is what each costs in it, in bytes.
func (h *Handler) below(
	q *question, sizeOf func(*embedded.Row) int, write func(*body, func(func(*embedded.Row) bool)),
) func(embedded.View) answer {
	return func(v embedded.View) answer {
		rows, size, filtered := 0, 0, false
		for row := range v.List(q.key) {
			if q.r.grant.reads(row.Path) {
				rows, size = rows+1, size+sizeOf(row)
			} else {
				filtered = true
			}
		}
		return answer{index: v.ListIndex(q.key), size: size, write: func(w http.ResponseWriter) {
			if filtered && !q.r.grant.anonymous() {
				w.Header().Set("X-Consul-Results-Filtered-By-ACLs", "true")
			}
			if rows == 0 && (q.key != "" || !q.r.has("keys")) {
				nothing(w)
				return
			}
			b := newBody(w, http.StatusOK)
			write(b, func(yield func(*embedded.Row) bool) {
				for row := range v.List(q.key) {
					if q.r.grant.reads(row.Path) && (b.err != nil || !yield(row)) {
						return
					}
				}
			})
			b.flush()
		}}
	}
}

func setContact(w http.ResponseWriter) {
	w.Header().Set("X-Consul-LastContact", "0")
	w.Header().Set("X-Consul-KnownLeader", "true")
}
