package longpoll

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"slices"
	"strconv"
	"time"
)

// maxHeld is how many bytes of an answer are held back to find out how long it is.
const maxHeld = 64 << 10

// send writes an answer to a connection that net/http does not serve.
// Each part of it has limit to be taken.
func send(conn net.Conn, limit time.Duration, answer Answer) error {
	w := &writer{conn: conn, limit: limit, header: make(http.Header)}
	answer(w)
	w.finish()
	return w.err
}

// WriteShared writes the only piece of an answer's body. Its bytes may be those of many answers, and never change,
// so that they need not be copied.
func WriteShared(w http.ResponseWriter, p []byte) {
	if own, ok := w.(*writer); ok && !own.sent && own.held == nil {
		own.WriteHeader(http.StatusOK)
		own.held = p
		return
	}
	_, _ = w.Write(p) // the client is told by the connection
}

// writer is an http.ResponseWriter for one answer. An answer of unknown length that is longer than maxHeld goes out
// in chunks, and each chunk has its own time.
type writer struct {
	conn   net.Conn
	limit  time.Duration
	header http.Header
	status int    // 0 before WriteHeader
	held   []byte // of the body, while its length is not known
	sent   bool   // the head is out
	chunks bool
	err    error

	query *Query // what the handler waits for, instead of an answer
}

func (w *writer) Header() http.Header { return w.header }

func (w *writer) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
}

func (w *writer) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	switch {
	case w.sent:
		w.body(p)
	case w.header.Get("Content-Length") != "":
		w.head(p)
	case len(w.held)+len(p) <= maxHeld:
		w.held = append(w.held, p...)
	default:
		w.describe(slices.Concat(w.held[:min(len(w.held), sniffed)], p[:min(len(p), sniffed)]))
		w.chunks = true
		w.header.Set("Transfer-Encoding", "chunked")
		w.head(nil)
		w.body(w.held)
		w.body(p)
		w.held = nil
	}
	return len(p), w.err
}

// finish writes what is not out yet.
func (w *writer) finish() {
	w.WriteHeader(http.StatusOK)
	switch {
	case !w.sent:
		if w.header.Get("Content-Length") == "" {
			w.header.Set("Content-Length", strconv.Itoa(len(w.held)))
		}
		w.head(w.held)
	case w.chunks:
		w.raw([]byte("0\r\n\r\n"), nil)
	}
	if w.err == nil {
		w.err = w.conn.SetWriteDeadline(time.Time{})
	}
}

// sniffed is how many bytes of a body tell its type.
const sniffed = 512

// describe names the type of a body for which the handler has named none, as net/http does.
func (w *writer) describe(body []byte) {
	_, named := w.header["Content-Type"]
	if !named && len(body) > 0 && w.header.Get("Content-Encoding") == "" && !w.chunks {
		w.header.Set("Content-Type", http.DetectContentType(body))
	}
}

// head writes the head and the first bytes of the body.
func (w *writer) head(first []byte) {
	w.sent = true
	w.describe(first)
	var head bytes.Buffer
	fmt.Fprintf(&head, "HTTP/1.1 %d %s\r\n", w.status, http.StatusText(w.status))
	_ = w.header.Write(&head) // a buffer takes all
	head.WriteString("Date: ")
	head.WriteString(time.Now().UTC().Format(http.TimeFormat))
	head.WriteString("\r\n\r\n")
	w.raw(head.Bytes(), first)
}

func (w *writer) body(p []byte) {
	switch {
	case len(p) == 0:
	case w.chunks:
		var chunk bytes.Buffer
		_, _ = httputil.NewChunkedWriter(&chunk).Write(p) // a buffer takes all
		w.raw(chunk.Bytes(), nil)
	default:
		w.raw(p, nil)
	}
}

// raw writes both with one system call, where there is one for it.
func (w *writer) raw(head, body []byte) {
	if w.err == nil {
		w.err = w.conn.SetWriteDeadline(time.Now().Add(w.limit))
	}
	if w.err != nil {
		return
	}
	if c, ok := w.conn.(*counted); ok {
		both := net.Buffers{head, body}
		_, w.err = both.WriteTo(c.Conn)
		return
	}
	_, w.err = w.conn.Write(append(head, body...))
}
