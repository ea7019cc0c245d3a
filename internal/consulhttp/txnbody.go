package consulhttp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"kvexpress/internal/store/local"
)

// maxOps is how many operations a transaction may have.
const maxOps = 128

// readOps reads the operations of a transaction, and whether any of them writes.
func readOps(w http.ResponseWriter, r *http.Request) (ops []local.Op, writes bool, err error) {
	// The names are Consul's, since they are part of what is said of a mistake.
	type KVOp string
	type KVTxnOp struct {
		Verb                 KVOp
		Key                  string
		Value                []byte
		Flags, Index         uint64
		Session              string
		Namespace, Partition string // of Consul Enterprise, and ignored
	}
	type TxnOp struct {
		KV                   *KVTxnOp
		Node, Service, Check json.RawMessage
	}
	if r.ContentLength > maxValue {
		return nil, false, status(http.StatusRequestEntityTooLarge, fmt.Sprintf(
			"Request body(%d bytes) too large, max size: %d bytes. See %s#txn_max_req_len.", r.ContentLength, maxValue, manual))
	}
	var body []*TxnOp
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxValue))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&body); err != nil {
		return nil, false, badBody(err)
	}
	if len(body) > maxOps {
		return nil, false, status(http.StatusRequestEntityTooLarge, fmt.Sprintf(
			"Transaction contains too many operations (%d > %d)", len(body), maxOps))
	}
	for _, in := range body {
		switch {
		case in == nil:
			return nil, false, status(http.StatusBadRequest, "Failed to parse body: an operation is null")
		case in.KV != nil:
			op := local.Op{
				Verb: local.Verb(in.KV.Verb), Path: in.KV.Key, Value: in.KV.Value,
				Flags: in.KV.Flags, Index: in.KV.Index, Session: in.KV.Session,
			}
			ops, writes = append(ops, op), writes || op.Verb.Writes()
		case given(in.Node), given(in.Service), given(in.Check):
			return nil, false, status(http.StatusNotImplemented,
				"a transaction has an operation on a node, service or check, and there is no catalog here. "+purpose)
		}
	}
	return ops, writes, nil
}

func given(raw json.RawMessage) bool { return len(raw) > 0 && !bytes.Equal(raw, []byte("null")) }

// badBody is what Consul says of a body that it cannot read.
func badBody(err error) error {
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return status(http.StatusRequestEntityTooLarge, fmt.Sprintf(
			"Request body too large, max size: %d bytes. See %s#txn_max_req_len.", maxValue, manual))
	}
	text := strings.ReplaceAll(err.Error(), "[]*consulhttp.TxnOp", "api.TxnOps")
	return status(http.StatusBadRequest, "Failed to parse body: "+strings.ReplaceAll(text, "consulhttp.", "api."))
}
