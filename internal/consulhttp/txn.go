package consulhttp

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"kvexpress/internal/store/local"
)

// txn answers for /v1/txn.
func (h *Handler) txn(w http.ResponseWriter, r *request) error {
	ops, writes, err := readOps(w, r.Request)
	if err != nil {
		return err
	}
	if writes {
		return h.txnWrite(w, r, ops)
	}
	if _, ok := parseOptions(w, r); !ok {
		return nil
	}
	return h.txnRead(w, r, ops)
}

// outcome is what came of a transaction.
type outcome struct {
	rows     []local.Row
	failed   []local.OpError
	read     bool // it only reads: more is told of it
	asked    bool // the store was asked
	filtered bool // rows were left out
}

func (h *Handler) txnWrite(w http.ResponseWriter, r *request, ops []local.Op) error {
	g, err := h.enter(r)
	if err != nil {
		return err
	}
	var out outcome
	if out.failed = h.preCheck(g, ops); len(out.failed) == 0 {
		if out.rows, out.failed, err = h.engine.Txn(r.Context(), ops); errors.Is(err, local.ErrAnswerTooLarge) {
			return status(http.StatusRequestEntityTooLarge, err.Error())
		} else if err != nil {
			return applyFailed("raft apply failed: ", err)
		}
	}
	out.filter(g)
	h.sendOutcome(w, r, out)
	return nil
}

func (h *Handler) txnRead(w http.ResponseWriter, r *request, ops []local.Op) error {
	g, err := h.enter(r)
	if err != nil {
		return err
	}
	out := outcome{read: true}
	if out.failed = h.preCheck(g, ops); len(out.failed) == 0 {
		out.asked = true
		if out.rows, out.failed, err = h.engine.View().Txn(ops); err != nil { // there are limits, and nothing else that can fail
			return status(http.StatusRequestEntityTooLarge, err.Error())
		}
	}
	out.filter(g)
	setContact(w, out.asked)
	h.sendOutcome(w, r, out)
	return nil
}

// preCheck is why operations may not be tried at all.
func (h *Handler) preCheck(g grant, ops []local.Op) (failed []local.OpError) {
	for i, op := range ops {
		what := ""
		switch {
		case op.Path == "" && op.Verb != local.DeleteTree:
			what = "Must provide key"
		case !op.Verb.Known():
			what = fmt.Sprintf("unknown KV operation: %s", op.Verb)
		default:
			if err := g.mayDo(op); err != nil {
				what = err.Error()
			} else if op.Verb == local.Lock && h.engine.LockDelayed(op.Path) {
				what = fmt.Sprintf("failed to lock key %q due to lock delay", op.Path)
			}
		}
		if what != "" {
			failed = append(failed, local.OpError{OpIndex: i, What: what})
		}
	}
	return failed
}

// filter leaves out the rows that may not be read.
func (o *outcome) filter(g grant) {
	if g.auth == nil {
		return
	}
	kept := make([]local.Row, 0, len(o.rows))
	for i := range o.rows {
		if g.reads(o.rows[i].Path) {
			kept = append(kept, o.rows[i])
		}
	}
	o.filtered = len(kept) < len(o.rows) && !g.anonymous()
	o.rows = kept
}

// sendOutcome answers a transaction: with 409 when it failed.
func (h *Handler) sendOutcome(w http.ResponseWriter, r *request, out outcome) {
	code, contentType := http.StatusOK, jsonText
	if len(out.failed) > 0 {
		code, contentType = http.StatusConflict, jsonText+"; charset=utf-8"
	}
	if r.has("pretty") {
		var b []byte
		out.render(func(part []byte) { b = append(b, part...) })
		h.sendBytes(w, acceptsGzip(r.Request), true, code, contentType, b)
		return
	}
	s := h.stream(w, acceptsGzip(r.Request), code, contentType)
	out.render(s.add)
	s.close()
}

// render gives the JSON piece by piece. The pieces are not to be kept.
func (o *outcome) render(add func([]byte)) {
	var b []byte
	if len(o.failed) > 0 {
		b = append(b, `{"Results":null,"Errors":[`...)
		for i, failed := range o.failed {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(b, `{"OpIndex":`...)
			b = strconv.AppendInt(b, int64(failed.OpIndex), 10)
			b = append(b, `,"What":`...)
			b = append(appendString(b, failed.What), '}')
		}
		b = append(b, ']')
	} else {
		b = append(b, `{"Results":[`...)
		for i := range o.rows {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(b, `{"KV":`...)
			b = append(appendRow(b, &o.rows[i]), '}')
			add(b)
			b = b[:0]
		}
		b = append(b, `],"Errors":null`...)
	}
	if o.read {
		index := 0
		if o.asked {
			index = 1 // there is none that could be waited with; see setMeta
		}
		b = append(b, `,"Index":`...)
		b = strconv.AppendInt(b, int64(index), 10)
		b = append(b, `,"LastContact":0,"KnownLeader":`...)
		b = strconv.AppendBool(b, o.asked)
		b = append(b, `,"ConsistencyLevel":"","NotModified":false,"Backend":0,"ResultsFilteredByACLs":`...)
		b = strconv.AppendBool(b, o.filtered)
	}
	add(append(b, '}'))
}
