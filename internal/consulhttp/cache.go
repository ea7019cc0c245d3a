package consulhttp

import (
	"bytes"
	"compress/gzip"
	"net/http"
	"strconv"
	"sync"

	"kvexpress/internal/longpoll"
	"kvexpress/internal/store/local"
)

// form is how one row is sent.
type form int

const (
	asJSON form = iota
	asPrettyJSON
	asRaw
	forms
)

const (
	cacheFrom = 1 << 10  // bytes of a value; smaller ones are made anew each time
	cacheSize = 16 << 20 // bytes, about, of all that is kept
	cacheCost = 6        // a row with all its forms, as a multiple of its value
)

// cache keeps the last bytes sent of each row: those of a row that many watch are made once
// when it changes, and not once for each of them.
type cache struct {
	mu   sync.Mutex
	rows map[string]*rendered // by path
	size int
}

// rendered is a row in all forms that were asked for.
type rendered struct {
	row   *local.Row
	plain [forms]once
	gzip  [forms]once
}

type once struct {
	sync.Once
	b []byte
}

func (o *once) get(make func() []byte) []byte {
	o.Do(func() { o.b = make() })
	return o.b
}

// of returns what is kept of the row. Rows are never changed, so that the pointer tells.
func (c *cache) of(row *local.Row) *rendered {
	if len(row.Value) < cacheFrom {
		return &rendered{row: row}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if kept := c.rows[row.Path]; kept != nil {
		if kept.row == row {
			return kept
		}
		if kept.row.ModifyIndex > row.ModifyIndex { // somebody is late: the newer one is wanted more
			return &rendered{row: row}
		}
		c.size -= cacheCost * len(kept.row.Value)
		delete(c.rows, row.Path)
	}
	if c.size += cacheCost * len(row.Value); c.rows == nil || c.size > cacheSize {
		c.rows, c.size = make(map[string]*rendered), cacheCost*len(row.Value)
	}
	kept := &rendered{row: row}
	c.rows[row.Path] = kept
	return kept
}

// bytes are the row in a form.
func (r *rendered) bytes(f form) []byte {
	if f == asRaw {
		return r.row.Value
	}
	return r.plain[f].get(func() []byte {
		b := appendRow([]byte{'['}, r.row)
		b = append(b, ']')
		if f == asPrettyJSON {
			b = append(indent(nil, b, ""), '\n')
		}
		return b
	})
}

// zipped are the bytes of a form, compressed.
func (r *rendered) zipped(f form) []byte {
	return r.gzip[f].get(func() []byte {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, _ = z.Write(r.bytes(f)) // memory takes all
		_ = z.Close()
		return b.Bytes()
	})
}

// sendRow answers with one row.
func (h *Handler) sendRow(w http.ResponseWriter, zip bool, row *local.Row, f form) {
	kept := h.cache.of(row)
	header := w.Header()
	if f == asRaw { // a value may be anything: no browser is to run it
		header.Set("Content-Type", plainText)
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Content-Security-Policy", "sandbox")
	} else {
		header.Set("Content-Type", jsonText)
	}
	b := kept.bytes(f)
	switch {
	case zip && f == asRaw && len(b) == 0: // Consul's compressor writes nothing, and what is around it takes the answer for JSON
		header.Set("Content-Type", jsonText+"; charset=utf-8")
		header.Set("Content-Length", "0")
	case zip && len(b) >= gzipFrom:
		header.Set("Content-Encoding", "gzip")
		b = kept.zipped(f)
	case f == asRaw:
		header.Set("Content-Length", strconv.Itoa(len(b)))
	}
	w.WriteHeader(http.StatusOK)
	longpoll.WriteShared(w, b)
}
