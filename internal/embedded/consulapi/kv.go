package consulapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"kvexpress/internal/embedded"
	"kvexpress/internal/kv"
)

// maxValue limits a value and the body of a transaction, in bytes.
const maxValue = 512 << 10

// kv answers /v1/kv/.
func (h *Handler) kv(w http.ResponseWriter, r *request) error {
	key := strings.TrimPrefix(r.URL.Path, "/v1/kv/")
	tree, deletes := r.has("recurse"), r.Method == http.MethodDelete
	switch {
	case key == "" && (r.Method == http.MethodPut || !tree && (deletes || !r.has("keys"))):
		return status(http.StatusBadRequest, "Missing key name")
	case r.Method == http.MethodGet:
		return h.query(w, r, key)
	case r.has("acquire") || r.has("release"):
		return absent("a lock with ?acquire or ?release")
	case deletes && tree:
		return h.deleteTree(w, r, key)
	}
	op := kv.Op{Verb: kv.Set, Path: key}
	var err error
	if op.Index, err = r.number("cas"); err == nil {
		op.Flags, err = r.number("flags")
	}
	if err == nil {
		err = r.grant.keyWrite(key)
	}
	if err == nil && !deletes {
		op.Value, err = readBody(w, r.Request)
	}
	if err != nil {
		return err
	}
	var ops []kv.Op
	switch {
	case deletes && r.has("cas"):
		if h.engine.View().Get(key) == nil { // this counts as deleted
			return sendJSON(w, true)
		}
		ops = []kv.Op{{Verb: kv.CheckIndex, Path: key, Index: op.Index}}
		fallthrough
	case deletes:
		op.Verb = kv.Delete
	case r.has("cas"):
		op.Verb = kv.CheckAndSet
	}
	_, failed, err := h.engine.Txn(r.Context(), append(ops, op))
	if err != nil {
		return applyFailed(err)
	}
	return sendJSON(w, len(failed) == 0)
}

func (h *Handler) deleteTree(w http.ResponseWriter, r *request, prefix string) error {
	if r.has("cas") {
		return status(http.StatusBadRequest, "Conflicting flags: recurse and cas")
	}
	if err := r.grant.keyWriteAll(prefix); err != nil {
		return err
	}
	if err := h.engine.DeleteTree(r.Context(), prefix); err != nil {
		return applyFailed(err)
	}
	return sendJSON(w, true)
}

// applyFailed is the answer to a failed write. Consul's clients take "No cluster leader" as: nothing was written, retry.
func applyFailed(err error) error {
	if errors.Is(err, embedded.ErrNotWritten) || errors.Is(err, embedded.ErrClosed) {
		return fmt.Errorf("%w. In Consul's words: No cluster leader", err)
	}
	return err
}

// readBody reads a value or a transaction, up to maxValue.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	errTooLarge := status(http.StatusRequestEntityTooLarge, fmt.Sprintf("Request body too large, max size: %d bytes", maxValue))
	if r.ContentLength > maxValue {
		return nil, errTooLarge
	}
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxValue))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return nil, errTooLarge
	}
	return b, err
}

// problem is an error with a status.
type problem struct {
	code int
	text string
}

func (p *problem) Error() string { return p.text }

func status(code int, text string) error { return &problem{code, text} }

// fail answers with an error as Consul does: its text, and 500 unless it has a status.
func fail(w http.ResponseWriter, err error) {
	code := http.StatusInternalServerError
	if known := (*problem)(nil); errors.As(err, &known) {
		code = known.code
	}
	write(w, code, err.Error())
}

// write sends a short text. Errors do not matter: the client has disconnected.
func write(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(code)
	_, _ = io.WriteString(w, text) //nolint:gosec // plain text
}

// sendJSON sends a small value.
func sendJSON(w http.ResponseWriter, value any) error {
	b, err := json.Marshal(value)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(b) // on an error, the client has disconnected
	return nil
}
