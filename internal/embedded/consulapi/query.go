package consulapi

import (
	"math/rand/v2"
	"net/http"
	"slices"
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

// query answers a GET: at once, or, for a blocking query, when the index grows or the wait is over.
func (h *Handler) query(w http.ResponseWriter, r *request, key string) error {
	if r.has("stale") && r.has("consistent") {
		return status(http.StatusBadRequest, "Cannot specify ?stale with ?consistent, conflicting semantics.")
	}
	var wait time.Duration
	var index uint64
	var err error
	if text := r.params.Get("wait"); text != "" {
		if wait, err = time.ParseDuration(text); err != nil {
			return status(http.StatusBadRequest, "Invalid wait time")
		}
	}
	if r.params.Get("index") != "" {
		index, err = r.number("index")
	}
	topic := embedded.Topic{Path: key, Tree: r.has("keys") || r.has("recurse")}
	if err == nil {
		err = r.mayAsk(topic)
	}
	if err != nil {
		return err
	}
	view := h.engine.View()
	if index > 0 {
		if view, err = h.await(w, r, topic, index, wait); err != nil {
			return err
		}
	}
	rows, size, filtered := r.find(view, topic)
	if size >= large {
		done, err := h.turn(r, size)
		if err != nil {
			return err
		}
		defer done()
		view = h.engine.View()
		rows, _, filtered = r.find(view, topic)
	}
	w.Header().Set("X-Consul-Index", strconv.FormatUint(view.Index(topic), 10))
	w.Header().Set("X-Consul-LastContact", "0")
	w.Header().Set("X-Consul-KnownLeader", "true")
	if filtered && !r.grant.anonymous() {
		w.Header().Set("X-Consul-Results-Filtered-By-ACLs", "true")
	}
	switch {
	case len(rows) == 0 && (key != "" || !r.has("keys")):
		w.WriteHeader(http.StatusNotFound)
	case r.has("keys"):
		sendKeys(w, rows, len(key), r.params.Get("separator"))
	case !topic.Tree && r.has("raw"): // a value may be anything: a browser must not run it
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Content-Length", strconv.Itoa(len(rows[0].Value)))
		_, _ = newChunks(w).Write(rows[0].Value) // on an error, the client has disconnected
	default:
		stream(w, http.StatusOK, "", slices.Values(rows), putRow, "")
	}
	return nil
}

// await waits for a newer index, as Consul does. A request without a token may not wait. The permission may change meanwhile.
func (h *Handler) await(
	w http.ResponseWriter, r *request, topic embedded.Topic, index uint64, wait time.Duration,
) (embedded.View, error) {
	if r.grant.anonymous() {
		return embedded.View{}, status(http.StatusForbidden, "Permission denied: a blocking query needs a token")
	}
	if wait <= 0 {
		wait = defaultWait
	}
	wait = min(wait, maxWait)
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Time{}) // the request's deadline would end the wait; on an error, the client has disconnected
	view, err := h.engine.Await(r.Context(), topic, index, wait+rand.N(wait/jitterPart+1))
	if err != nil {
		panic(http.ErrAbortHandler) //nolint:forbidigo // the client has disconnected, or the server stops: net/http must send no answer
	}
	_ = control.SetWriteDeadline(time.Now().Add(AnswerTime)) // if it fails, so does the write
	return view, r.mayAsk(topic)
}

// mayAsk checks the permission for a single row. The rows of a list are filtered instead.
func (r *request) mayAsk(topic embedded.Topic) error {
	if topic.Tree {
		return nil
	}
	return r.grant.keyRead(topic.Path)
}

// find returns the readable rows of a topic, the size of a list in bytes, and whether rows were left out.
func (r *request) find(v embedded.View, topic embedded.Topic) (rows []*embedded.Row, size int, filtered bool) {
	if !topic.Tree {
		if row := v.Get(topic.Path); row != nil {
			return []*embedded.Row{row}, 0, false
		}
		return nil, 0, false
	}
	for row := range v.List(topic.Path) {
		if !r.grant.reads(row.Path) {
			filtered = true
			continue
		}
		if rows = append(rows, row); r.has("keys") {
			size += len(row.Path) + len(`"",`)
		} else {
			size += sizeOf(row)
		}
	}
	return rows, size, filtered
}

// sendKeys sends the paths of rows. Each is cut after the first separator beyond the prefix, and sent once.
func sendKeys(w http.ResponseWriter, rows []*embedded.Row, prefix int, separator string) {
	stream(w, http.StatusOK, "", func(yield func(string) bool) {
		last := ""
		for i, row := range rows {
			key := row.Path
			if before, _, cut := strings.Cut(key[prefix:], separator); cut && separator != "" {
				key = key[:prefix+len(before)+len(separator)]
			}
			if i > 0 && key == last { // the rows are sorted
				continue
			}
			if last = key; !yield(key) {
				return
			}
		}
	}, putJSON[string], "")
}
