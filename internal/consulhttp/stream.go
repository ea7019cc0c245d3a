package consulhttp

import (
	"compress/gzip"
	"encoding/json"
	"net/http"
	"runtime"
	"strconv"
	"strings"
)

const (
	gzipFrom  = 1400     // bytes; below it, Consul does not compress
	chunkSize = 32 << 10 // of what is made before it is sent
)

// gzips are the compressors; each costs most of a megabyte. Who finds none free sends its answer plain, since
// one that waits for a slow client may not make others wait.
type gzips struct{ free chan *gzip.Writer }

func newGzips() gzips {
	n := 2 * runtime.GOMAXPROCS(0)
	g := gzips{free: make(chan *gzip.Writer, n)}
	for range n {
		g.free <- nil // made when it is needed
	}
	return g
}

// take returns a compressor, or nil.
func (g gzips) take(w http.ResponseWriter) *gzip.Writer {
	select {
	case z := <-g.free:
		if z == nil {
			return gzip.NewWriter(w)
		}
		z.Reset(w)
		return z
	default:
		return nil
	}
}

// acceptsGzip reads Accept-Encoding as Consul does.
func acceptsGzip(r *http.Request) bool {
	accepted := false
	for coding := range strings.SplitSeq(r.Header.Get("Accept-Encoding"), ",") {
		name, rest, _ := strings.Cut(coding, ";")
		if !strings.EqualFold(strings.TrimSpace(name), "gzip") {
			continue
		}
		accepted = true
		for part := range strings.SplitSeq(rest, ";") {
			if q, ok := strings.CutPrefix(strings.TrimSpace(part), "q="); ok {
				weight, err := strconv.ParseFloat(q, 64)
				accepted = err == nil && weight > 0
			}
		}
	}
	return accepted
}

// stream sends an answer while it is made. Status and headers are sent with its first bytes.
type stream struct {
	w       http.ResponseWriter
	status  int
	gzips   gzips
	zip     bool // the client takes gzip
	z       *gzip.Writer
	buf     []byte
	started bool
	err     error // the client is gone: what is written is dropped
}

func (h *Handler) stream(w http.ResponseWriter, zip bool, status int, contentType string) *stream {
	w.Header().Set("Content-Type", contentType)
	return &stream{w: w, status: status, gzips: h.gzips, zip: zip}
}

func (s *stream) text(t string) { s.buf = append(s.buf, t...) }

func (s *stream) add(b []byte) {
	s.buf = append(s.buf, b...)
	if len(s.buf) >= chunkSize {
		s.flush()
	}
}

func (s *stream) flush() {
	if s.err != nil {
		s.buf = s.buf[:0]
		return
	}
	if !s.started {
		s.started = true
		if s.zip && len(s.buf) >= gzipFrom {
			s.z = s.gzips.take(s.w)
		}
		if s.z != nil {
			s.w.Header().Set("Content-Encoding", "gzip")
			s.w.Header().Del("Content-Length")
		}
		s.w.WriteHeader(s.status)
	}
	if s.z != nil {
		_, s.err = s.z.Write(s.buf)
	} else {
		_, s.err = s.w.Write(s.buf)
	}
	s.buf = s.buf[:0]
}

func (s *stream) close() {
	s.flush()
	if s.z == nil {
		return
	}
	if s.err == nil {
		s.err = s.z.Close()
	}
	s.z.Reset(nil)
	s.gzips.free <- s.z
}

// list writes the elements of a JSON list one by one.
type list struct {
	*stream
	pretty bool
	n      int
	indent []byte
}

func (l *list) element(compact []byte) {
	if l.n == 0 {
		l.text("[")
	} else {
		l.text(",")
	}
	l.n++
	if l.pretty {
		l.indent = indent(l.indent[:0], compact, "    ")
		l.text("\n    ")
		compact = l.indent
	}
	l.add(compact)
}

// end closes the list and the stream.
func (l *list) end() {
	switch {
	case l.n == 0:
		l.text("[]")
	case l.pretty:
		l.text("\n]")
	default:
		l.text("]")
	}
	if l.pretty {
		l.text("\n")
	}
	l.close()
}

// sendJSON answers with a value that is small.
func (h *Handler) sendJSON(w http.ResponseWriter, r *request, value any) error {
	b, err := json.Marshal(value)
	if err != nil {
		return err
	}
	h.sendBytes(w, acceptsGzip(r.Request), r.has("pretty"), http.StatusOK, jsonText, b)
	return nil
}

// sendBytes answers with JSON that is there already, indented if that was asked.
func (h *Handler) sendBytes(w http.ResponseWriter, zip, pretty bool, status int, contentType string, compact []byte) {
	if pretty {
		compact = append(indent(nil, compact, ""), '\n')
	}
	s := h.stream(w, zip, status, contentType)
	s.add(compact)
	s.close()
}
