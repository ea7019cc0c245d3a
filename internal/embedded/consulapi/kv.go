package consulapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"kvexpress/internal/embedded"
)

// maxValue limits a value and the body of a transaction, in bytes.
const maxValue = 512 << 10

var errNoKey = status(http.StatusBadRequest, "Missing key name")

// kv answers /v1/kv/.
func (h *Handler) kv(w http.ResponseWriter, r *request) error {
	key := strings.TrimPrefix(r.URL.Path, "/v1/kv/")
	if every := r.Method != http.MethodPut && r.has("recurse") || r.Method == http.MethodGet && r.has("keys"); key == "" && !every {
		return errNoKey
	}
	if r.Method == http.MethodGet {
		return h.query(w, r, key)
	}
	if r.has("acquire") || r.has("release") {
		return absent("a lock with ?acquire or ?release")
	}
	op, err := writeOf(r, key)
	if err == nil {
		err = r.grant.mayDo(op)
	}
	if err == nil && r.Method == http.MethodPut {
		op.Value, err = readBody(w, r.Request)
	}
	if err != nil {
		return err
	}
	held, err := h.engine.Apply(r.Context(), op)
	if err != nil {
		return applyFailed(err)
	}
	return sendJSON(w, held)
}

// writeOf returns the write of a PUT or DELETE, without its value.
func writeOf(r *request, key string) (op embedded.Op, err error) {
	op = embedded.Op{Verb: embedded.Set, Path: key}
	cas := embedded.CAS
	if r.Method == http.MethodDelete {
		op.Verb, cas = embedded.Delete, embedded.DeleteCAS
		if r.has("recurse") {
			op.Verb = embedded.DeleteTree
			if r.has("cas") {
				return op, status(http.StatusBadRequest, "Conflicting flags: recurse and cas")
			}
		}
	}
	if r.has("cas") {
		op.Verb = cas
	}
	if op.Index, err = r.number("cas"); err != nil {
		return op, err
	}
	op.Flags, err = r.number("flags")
	return op, err
}

// mayDo reports whether an operation is allowed. Reads are filtered by their rows instead.
func (g grant) mayDo(op embedded.Op) error {
	switch {
	case op.Verb == embedded.DeleteTree:
		return g.keyWriteAll(op.Path)
	case op.Verb == embedded.CheckIndex:
		return g.keyRead(op.Path)
	case op.Verb.Reads():
		return nil
	default:
		return g.keyWrite(op.Path)
	}
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
	var known *problem
	var denied *denial
	switch {
	case errors.As(err, &known):
		code = known.code
	case errors.As(err, &denied), errors.Is(err, errUnknownToken):
		code = http.StatusForbidden
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
