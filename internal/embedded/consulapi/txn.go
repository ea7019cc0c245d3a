package consulapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"kvexpress/internal/embedded"
)

// maxOps limits the operations of a transaction, as in Consul.
const maxOps = 128

// txn answers /v1/txn.
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
	if len(failed) > 0 {
		return sendFailed(w, failed)
	}
	if reads {
		size := embedded.MaxAnswer // of a transaction that writes, the size is known only afterwards
		if !writes {
			size = h.measure(ops)
		}
		if size >= large {
			done, err := h.turn(r, size)
			if err != nil {
				return err
			}
			defer done()
		}
	}
	var rows []*embedded.Row
	if writes {
		rows, failed, err = h.engine.Txn(r.Context(), ops)
	} else {
		setContact(w)
		rows, failed, err = h.engine.View().Txn(ops, maxSent)
	}
	switch {
	case errors.Is(err, embedded.ErrAnswerTooLarge):
		return status(http.StatusRequestEntityTooLarge, err.Error())
	case err != nil:
		return applyFailed(err)
	case len(failed) > 0:
		return sendFailed(w, failed)
	}
	b := newBody(w, http.StatusOK)
	b.text(`{"Results":`)
	b.list()
	for _, row := range rows {
		if r.grant.reads(row.Path) {
			b.element()
			b.text(`{"KV":`)
			b.row(row)
			b.text("}")
		}
	}
	b.text(`],"Errors":null}`)
	b.flush()
	return nil
}

// readOps reads the operations of a transaction.
func readOps(w http.ResponseWriter, r *http.Request) (ops []embedded.Op, err error) {
	var in []struct {
		KV *struct {
			Verb                          embedded.Verb
			Key                           string
			Value                         []byte
			Flags, Index                  uint64
			Session, Namespace, Partition string // not supported
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
			return nil, absent("an operation of a transaction that is not on a key")
		case op.KV.Verb == "lock", op.KV.Verb == "unlock", op.KV.Verb == "check-session":
			return nil, absent(fmt.Sprintf("the operation %q of a transaction", op.KV.Verb))
		}
		ops = append(ops, embedded.Op{Verb: op.KV.Verb, Path: op.KV.Key, Value: op.KV.Value, Flags: op.KV.Flags, Index: op.KV.Index})
	}
	return ops, nil
}

// refused says why an operation is not executed, in Consul's words.
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

// measure returns the size of the answer to a transaction that only reads; 0 if it fails. It keeps no rows: see turn.
func (h *Handler) measure(ops []embedded.Op) (size int) {
	rows, _, _ := h.engine.View().Txn(ops, maxSent) // the caller executes it again, and gets the error
	for _, row := range rows {
		size += row.Size()
	}
	return size
}

// sendFailed answers a failed transaction.
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
