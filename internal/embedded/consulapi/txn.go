package consulapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"kvexpress/internal/embedded"
)

// maxOps is how many operations a transaction may have.
const maxOps = 128

// txn answers for /v1/txn.
func (h *Handler) txn(w http.ResponseWriter, r *request) error {
	ops, err := readOps(w, r.Request)
	if err != nil {
		return err
	}
	writes, reads := false, false
	var failed []embedded.OpError
	for i, op := range ops {
		writes, reads = writes || op.Verb.Writes(), reads || op.Verb.Reads()
		if err := refused(r.grant, op); err != nil {
			failed = append(failed, embedded.OpError{OpIndex: i, What: err.Error()})
		}
	}
	switch {
	case len(failed) > 0:
		return sendFailed(w, failed)
	case writes && reads: // how much it reads is known when it is done
		done, err := h.turn(r, embedded.MaxAnswer)
		if err != nil {
			return err
		}
		defer done()
		return h.txnWrite(w, r, ops)
	case writes:
		return h.txnWrite(w, r, ops)
	default:
		return h.txnRead(w, r, ops)
	}
}

// readOps reads the operations of a transaction.
func readOps(w http.ResponseWriter, r *http.Request) (ops []embedded.Op, err error) {
	var in []struct {
		KV *struct {
			Verb                          embedded.Verb
			Key                           string
			Value                         []byte
			Flags, Index                  uint64
			Session, Namespace, Partition string // of what is not here
		}
		Node, Service, Check, Session any
	}
	b, err := readBody(w, r)
	if err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(b))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&in); err != nil {
		return nil, status(http.StatusBadRequest, "Failed to parse body: "+err.Error())
	}
	if len(in) > maxOps {
		return nil, status(http.StatusRequestEntityTooLarge,
			fmt.Sprintf("Transaction contains too many operations (%d > %d)", len(in), maxOps))
	}
	for _, op := range in {
		switch {
		case op.KV == nil:
			return nil, absent("an operation of a transaction that is not on a key", "catalog and sessions")
		case op.KV.Verb == "lock", op.KV.Verb == "unlock", op.KV.Verb == "check-session":
			return nil, absent(fmt.Sprintf("the operation %q of a transaction", op.KV.Verb), "sessions and locks")
		}
		ops = append(ops, embedded.Op{Verb: op.KV.Verb, Path: op.KV.Key, Value: op.KV.Value, Flags: op.KV.Flags, Index: op.KV.Index})
	}
	return ops, nil
}

// refused is why an operation may not be tried at all, in Consul's words.
func refused(g grant, op embedded.Op) error {
	switch {
	case op.Path == "" && op.Verb != embedded.DeleteTree:
		return fmt.Errorf("Must provide key")
	case !op.Verb.Known():
		return fmt.Errorf("unknown KV operation: %s", op.Verb)
	default:
		return g.mayDo(op)
	}
}

func (h *Handler) txnWrite(w http.ResponseWriter, r *request, ops []embedded.Op) error {
	rows, failed, err := h.engine.Txn(r.Context(), ops)
	switch {
	case errors.Is(err, embedded.ErrAnswerTooLarge):
		return status(http.StatusRequestEntityTooLarge, err.Error())
	case err != nil:
		return applyFailed(err)
	case len(failed) > 0:
		return sendFailed(w, failed)
	}
	b, end := newResults(w)
	for _, row := range rows {
		r.result(b, row)
	}
	end()
	return nil
}

// txnRead finds out first how large the answer is, and sends it while it reads the same view once more.
func (h *Handler) txnRead(w http.ResponseWriter, r *request, ops []embedded.Op) error {
	view := h.engine.View()
	size, failed, err := measure(view, ops)
	if err == nil && size >= large {
		done, turnErr := h.turn(r, size)
		if turnErr != nil {
			return turnErr
		}
		defer done()
		view = h.engine.View() // the older one was not kept meanwhile
		_, failed, err = measure(view, ops)
	}
	if err != nil {
		return err
	}
	setContact(w)
	if len(failed) > 0 {
		return sendFailed(w, failed)
	}
	b, end := newResults(w)
	if _, err = view.Txn(ops, func(row *embedded.Row) error { r.result(b, row); return b.err }); err == nil {
		end()
	}
	return nil // the client may be gone
}

// measure is the size of the answer of a transaction that only reads.
func measure(view embedded.View, ops []embedded.Op) (size int, failed []embedded.OpError, err error) {
	failed, err = view.Txn(ops, func(row *embedded.Row) error {
		if size += row.Size(); size > maxSent {
			return status(http.StatusRequestEntityTooLarge,
				fmt.Sprintf("the answer would have more than %d bytes; ask for fewer rows in a transaction", maxSent))
		}
		return nil
	})
	return size, failed, err
}

// newResults begins the answer of a transaction.
func newResults(w http.ResponseWriter) (b *body, end func()) {
	b = newBody(w, http.StatusOK)
	b.text(`{"Results":`)
	b.list()
	return b, func() { b.text(`],"Errors":null}`); b.flush() }
}

// result adds a row, if it may be read.
func (r *request) result(b *body, row *embedded.Row) {
	if r.grant.reads(row.Path) {
		b.element()
		b.text(`{"KV":`)
		b.row(row)
		b.text("}")
	}
}

// sendFailed answers a transaction that was not made.
func sendFailed(w http.ResponseWriter, failed []embedded.OpError) error {
	text, err := json.Marshal(map[string]any{"Results": nil, "Errors": failed})
	if err != nil {
		return err
	}
	b := newBody(w, http.StatusConflict)
	b.text(string(text))
	b.flush()
	return nil
}
