package consulhttp

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"strconv"
	"strings"

	"kvexpress/internal/store/local"
)

const (
	manual = "https://developer.hashicorp.com/docs/agent/config/config-files"
	// maxValue is the largest value, and the largest body of a transaction, in bytes.
	maxValue = 512 << 10
)

var errNoKey = status(http.StatusBadRequest, "Missing key name")

// kv answers for /v1/kv/.
func (h *Handler) kv(w http.ResponseWriter, r *request) error {
	o, ok := parseOptions(w, r)
	if !ok {
		return nil
	}
	key := cleanKey(strings.TrimPrefix(r.URL.Path, "/v1/kv/"))
	if err := soundKey(key); err != nil {
		return err
	}
	switch r.Method {
	case http.MethodPut:
		return h.put(w, r, key)
	case http.MethodDelete:
		return h.remove(w, r, key)
	default:
		return h.read(w, r, key, o)
	}
}

// cleanKey drops the parts that mean nothing, such as /./; a slash at the end stays.
func cleanKey(raw string) string {
	if raw == "" {
		return ""
	}
	key := path.Clean(raw)
	if strings.HasSuffix(raw, "/") && !strings.HasSuffix(key, "/") {
		key += "/"
	}
	return key
}

// read answers a GET.
func (h *Handler) read(w http.ResponseWriter, r *request, key string, o options) error {
	recurse, keys := r.has("recurse"), r.has("keys")
	if key == "" && !recurse && !keys {
		return errNoKey
	}
	if err := free(r); err != nil {
		return err
	}
	g, err := h.enter(r)
	if err != nil {
		return err
	}
	return h.serveQuery(w, r, h.question(r, g, key, o))
}

// question is what a GET asks.
func (h *Handler) question(r *request, g grant, key string, o options) query {
	q := query{topic: local.PrefixTopic(key), minIndex: o.index, wait: o.wait}
	switch {
	case r.has("keys"):
		q.ask = h.askKeys(g, key, separator(r), r.has("pretty"))
	case r.has("recurse"):
		q.ask = h.askList(g, key, r.has("pretty"))
	default:
		f := asJSON
		if r.has("pretty") {
			f = asPrettyJSON
		}
		if r.has("raw") {
			f = asRaw
		}
		q.topic, q.ask = local.KeyTopic(key), h.askRow(g, key, f)
	}
	return q
}

// separator is where keys are cut; Consul knows a spelling of its own.
func separator(r *request) string {
	if r.has("separator") {
		return r.params.Get("separator")
	}
	return r.params.Get("seperator") //nolint:misspell // Consul's own spelling
}

func (h *Handler) askRow(g grant, key string, f form) func(local.View) answer {
	return func(v local.View) answer {
		if err := g.keyRead(key); err != nil {
			return answer{err: err}
		}
		row := v.Get(key)
		if row == nil {
			return nothing(v.Index(), false)
		}
		return answer{index: row.ModifyIndex, found: true, write: func(w http.ResponseWriter, zip bool) {
			setMeta(w, row.ModifyIndex, true, false)
			h.sendRow(w, zip, row, f)
		}}
	}
}

// nothing is the answer that there is nothing.
func nothing(index uint64, filtered bool) answer {
	index = max(index, 1)
	return answer{index: index, write: func(w http.ResponseWriter, _ bool) {
		setMeta(w, index, true, filtered)
		w.WriteHeader(http.StatusNotFound)
	}}
}

// seen looks which rows of a list may be read: whether any, and whether all.
func seen(v local.View, g grant, prefix string) (some, filtered bool) {
	for row := range v.List(prefix) {
		if g.reads(row.Path) {
			some = true
		} else {
			filtered = true
		}
		if some && (filtered || g.auth == nil) {
			break
		}
	}
	return some, filtered && !g.anonymous()
}

func (h *Handler) askList(g grant, prefix string, pretty bool) func(local.View) answer {
	return func(v local.View) answer {
		index := max(v.ListIndex(prefix), 1)
		return answer{index: index, found: true, write: func(w http.ResponseWriter, zip bool) {
			some, filtered := seen(v, g, prefix)
			if !some {
				nothing(index, filtered).write(w, zip)
				return
			}
			setMeta(w, index, true, filtered)
			l := list{stream: h.stream(w, zip, http.StatusOK, jsonText), pretty: pretty}
			var b []byte
			for row := range v.List(prefix) {
				if l.err != nil {
					break
				}
				if g.reads(row.Path) {
					b = appendRow(b[:0], row)
					l.element(b)
				}
			}
			l.end()
		}}
	}
}

func (h *Handler) askKeys(g grant, prefix, separator string, pretty bool) func(local.View) answer {
	return func(v local.View) answer {
		index := max(v.ListIndex(prefix), 1)
		return answer{index: index, found: true, write: func(w http.ResponseWriter, zip bool) {
			some, filtered := seen(v, g, prefix)
			if !some && prefix != "" {
				nothing(index, filtered).write(w, zip)
				return
			}
			setMeta(w, index, true, filtered)
			l := list{stream: h.stream(w, zip, http.StatusOK, jsonText), pretty: pretty}
			last, b := "", []byte(nil)
			for row := range v.List(prefix) {
				if l.err != nil {
					break
				}
				if !g.reads(row.Path) {
					continue
				}
				key := row.Path
				if before, _, cut := strings.Cut(key[len(prefix):], separator); cut && separator != "" {
					key = key[:len(prefix)+len(before)+len(separator)]
				}
				if l.n > 0 && key == last { // those with one beginning stand together
					continue
				}
				last, b = key, appendString(b[:0], key)
				l.element(b)
			}
			l.end()
		}}
	}
}

// put answers a PUT.
func (h *Handler) put(w http.ResponseWriter, r *request, key string) error {
	if err := free(r); err != nil {
		return err
	}
	if key == "" {
		return errNoKey
	}
	if conflicting(w, r, "cas", "acquire", "release") {
		return nil
	}
	op := local.Op{Verb: local.Set, Path: key}
	var err error
	if r.has("flags") {
		if op.Flags, err = strconv.ParseUint(r.params.Get("flags"), 10, 64); err != nil {
			return err
		}
	}
	switch {
	case r.has("cas"):
		op.Verb = local.CAS
		if op.Index, err = strconv.ParseUint(r.params.Get("cas"), 10, 64); err != nil {
			return err
		}
	case r.has("acquire"):
		op.Verb, op.Session = local.Lock, r.params.Get("acquire")
	case r.has("release"):
		op.Verb, op.Session = local.Unlock, r.params.Get("release")
	}
	if op.Value, err = readValue(w, r.Request); err != nil {
		return err
	}
	return h.apply(w, r, op)
}

// remove answers a DELETE.
func (h *Handler) remove(w http.ResponseWriter, r *request, key string) error {
	if err := free(r); err != nil {
		return err
	}
	if conflicting(w, r, "recurse", "cas") {
		return nil
	}
	op := local.Op{Verb: local.Delete, Path: key}
	switch {
	case r.has("recurse"):
		op.Verb = local.DeleteTree
	case key == "":
		return errNoKey
	case r.has("cas"):
		var err error
		op.Verb = local.DeleteCAS
		if op.Index, err = strconv.ParseUint(r.params.Get("cas"), 10, 64); err != nil {
			return err
		}
	}
	return h.apply(w, r, op)
}

// apply makes one write, and answers whether its check held.
func (h *Handler) apply(w http.ResponseWriter, r *request, op local.Op) error {
	g, err := h.enter(r)
	if err != nil {
		return err
	}
	if err := g.mayDo(op); err != nil {
		return err
	}
	held, err := h.engine.Apply(r.Context(), op)
	if err != nil {
		return applyFailed("raft apply failed: ", err)
	}
	return h.sendJSON(w, r, held)
}

// mayDo is whether the operation is allowed. Reads are judged by what they find.
func (g grant) mayDo(op local.Op) error {
	switch op.Verb {
	case local.DeleteTree:
		return g.keyWriteAll(op.Path)
	case local.CheckSession, local.CheckIndex:
		return g.keyRead(op.Path)
	case local.Get, local.GetOrEmpty, local.GetTree:
		return nil
	default:
		return g.keyWrite(op.Path)
	}
}

// applyFailed is what is said of a write that failed. Clients of Consul know by the words "No cluster leader"
// that nothing was written, and that they may try again.
func applyFailed(prefix string, err error) error {
	switch {
	case errors.Is(err, local.ErrUnknown):
		return err
	case errors.Is(err, local.ErrNotWritten), errors.Is(err, local.ErrClosed):
		return fmt.Errorf("%w. In Consul's words: No cluster leader", err)
	default:
		return fmt.Errorf("%s%w", prefix, err)
	}
}

// readValue reads the body of a PUT. One that is too large is not read to its end.
func readValue(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	limit := int64(maxValue)
	switch {
	case r.ContentLength > limit:
		return nil, status(http.StatusRequestEntityTooLarge, fmt.Sprintf(
			"Request body(%d bytes) too large, max size: %d bytes. See %s#kv_max_value_size.", r.ContentLength, limit, manual))
	case r.ContentLength <= 0:
		limit++ // Consul's limit of a body whose length is not told
	}
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return nil, status(http.StatusRequestEntityTooLarge, fmt.Sprintf("Request body too large. Max allowed is %d bytes.", maxValue))
	}
	return b, err
}

// conflicting answers a request that has more than one of the parameters.
func conflicting(w http.ResponseWriter, r *request, params ...string) bool {
	n := 0
	for _, param := range params {
		if r.has(param) {
			n++
		}
	}
	if n > 1 {
		write(w, http.StatusBadRequest, "Conflicting flags: "+r.params.Encode()+"\n")
	}
	return n > 1
}
