package consulapi

import (
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	"kvexpress/internal/embedded"
)

// The limits of a blocking query, as in Consul.
const (
	defaultWait = 300 * time.Second
	maxWait     = 600 * time.Second
	jitterPart  = 16 // jitter: a wait is longer by up to this fraction
)

// question is a GET, and how to answer it from a view.
type question struct {
	r      *request
	key    string
	topic  embedded.Topic
	answer func(embedded.View) answer
}

// answer is prepared from a view. Preparing it is cheap; write may send much.
type answer struct {
	err   error  // permission denied; the other fields are empty
	index uint64 // X-Consul-Index
	size  int    // in bytes, if write streams rows
	write func(w http.ResponseWriter)
}

// query answers a GET: at once, or, for a blocking query, when the index grows or the wait is over.
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
		panic(http.ErrAbortHandler) //nolint:forbidigo // the client has disconnected, or the server stops: net/http must send no answer
	}
	if size := a.size; size >= large {
		done, err := h.turn(r, size) // a waiting request keeps no view, so it asks again afterwards
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

// await waits until the answer has a newer index, as Consul does.
func (h *Handler) await(w http.ResponseWriter, q *question, index uint64, wait time.Duration) (a answer, err error) {
	if index == 0 {
		return q.answer(h.engine.View()), nil
	}
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Time{}) // the request's deadline would end the wait; on an error, the client has disconnected
	err = h.engine.Await(q.r.Context(), q.topic, waitFor(wait), func(v embedded.View) bool {
		a = q.answer(v)
		return a.err != nil || a.index > index
	})
	_ = control.SetWriteDeadline(time.Now().Add(AnswerTime)) // if it fails, so does the write
	return a, err
}

// waitFor returns the duration of a blocking query.
func waitFor(asked time.Duration) time.Duration {
	if asked <= 0 {
		asked = defaultWait
	}
	asked = min(asked, maxWait)
	return asked + rand.N(asked/jitterPart+1)
}

// row answers with one row.
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
			if q.r.has("raw") { // a value may be anything: a browser must not run it
				w.Header().Set("Content-Type", "text/plain; charset=utf-8")
				w.Header().Set("X-Content-Type-Options", "nosniff")
				w.Header().Set("Content-Length", strconv.Itoa(len(row.Value)))
				_, _ = w.Write(row.Value) // on an error, the client has disconnected
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

// nothing answers that nothing was found.
func nothing(w http.ResponseWriter) { w.WriteHeader(http.StatusNotFound) }

// list answers with all rows below a prefix.
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

// keys answers with the keys below a prefix, each cut after the separator.
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
			if !first && key == last { // the rows are sorted
				continue
			}
			last, first = key, false
			b.element()
			b.quote(key)
		}
		b.text("]")
	})
}

// below answers with the rows below a prefix, formatted by write. sizeOf is the size of a row in the answer, in bytes.
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
