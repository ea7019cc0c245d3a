package consulapi

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"slices"

	"kvexpress/internal/embedded"
	"kvexpress/internal/kv"
)

// maxOps limits the operations of a transaction, as in Consul.
const maxOps = 128

// The verbs of get-or-empty and get-tree. A transaction consists of these only, or has none.
const (
	get     kv.Verb = "get-or-empty"
	getTree kv.Verb = "get-tree"
)

// txn answers /v1/txn.
func (h *Handler) txn(w http.ResponseWriter, r *request) error {
	ops, err := readOps(w, r.Request)
	if err != nil {
		return err
	}
	reads := 0
	var failed []embedded.OpError
	for i, op := range ops {
		if reading(op) {
			reads++
		}
		if err := r.grant.mayDo(op); err != nil {
			failed = append(failed, embedded.OpError{OpIndex: i, What: err.Error()})
		}
	}
	switch {
	case len(failed) > 0:
		return sendFailed(w, failed)
	case reads == 0:
		return h.commit(w, r, ops)
	case reads < len(ops):
		return absent("a transaction that reads and does anything else")
	}
	size := 0
	for row := range r.rowsOf(h.engine.View(), ops) {
		size += sizeOf(row)
	}
	done, err := h.turn(r, size)
	if err != nil {
		return err
	}
	defer done()
	stream(w, http.StatusOK, `{"Results":`, r.rowsOf(h.engine.View(), ops), putResult, `,"Errors":null}`)
	return nil
}

// rowsOf yields the readable rows of a transaction that reads. A missing row has no index.
func (r *request) rowsOf(view embedded.View, ops []kv.Op) iter.Seq[*embedded.Row] {
	return func(yield func(*embedded.Row) bool) {
		for _, op := range ops {
			rows := view.List(op.Path)
			if op.Verb == get {
				row := cmp.Or(view.Get(op.Path), &embedded.Row{Path: op.Path})
				rows = slices.Values([]*embedded.Row{row})
			}
			for row := range rows {
				if r.grant.reads(row.Path) && !yield(row) {
					return
				}
			}
		}
	}
}

// commit executes a transaction that writes or checks. As in Consul, the answer has no values.
func (h *Handler) commit(w http.ResponseWriter, r *request, ops []kv.Op) error {
	rows, failed, err := h.engine.Txn(r.Context(), ops)
	switch {
	case err != nil:
		return applyFailed(err)
	case len(failed) > 0:
		return sendFailed(w, failed)
	}
	var written []*embedded.Row
	for _, row := range rows {
		if row != nil && r.grant.reads(row.Path) {
			bare := *row
			bare.Value = nil
			written = append(written, &bare)
		}
	}
	stream(w, http.StatusOK, `{"Results":`, slices.Values(written), putResult, `,"Errors":null}`)
	return nil
}

// readOps reads the operations of a transaction.
func readOps(w http.ResponseWriter, r *http.Request) (ops []kv.Op, err error) {
	var in []struct {
		KV *struct {
			Verb                          kv.Verb
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
	for _, step := range in {
		if step.KV == nil {
			return nil, absent("an operation of a transaction that is not on a key")
		}
		op := kv.Op{Verb: step.KV.Verb, Path: step.KV.Key, Value: step.KV.Value, Flags: step.KV.Flags, Index: step.KV.Index}
		if !op.Verb.Known() && !reading(op) {
			return nil, absent(fmt.Sprintf("the operation %q of a transaction", op.Verb))
		}
		ops = append(ops, op)
	}
	return ops, nil
}

func reading(op kv.Op) bool { return op.Verb == get || op.Verb == getTree }

// mayDo says why an operation is not executed, in Consul's words. Reads are filtered instead.
func (g grant) mayDo(op kv.Op) error {
	switch {
	case op.Path == "":
		return errors.New("Must provide key")
	case reading(op):
		return nil
	case op.Verb == kv.CheckIndex:
		return g.keyRead(op.Path)
	default:
		return g.keyWrite(op.Path)
	}
}

// sendFailed answers a failed transaction.
func sendFailed(w http.ResponseWriter, failed []embedded.OpError) error {
	stream(w, http.StatusConflict, `{"Results":null,"Errors":`, slices.Values(failed), putJSON[embedded.OpError], "}")
	return nil
}
