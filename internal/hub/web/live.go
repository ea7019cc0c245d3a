package web

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

const (
	maxStreams = 200
	// pingEvery is how often a stream says that it is alive, and writeLimit how long a browser may take to read.
	pingEvery  = 2 * time.Second
	writeLimit = 10 * time.Second
)

// live sends the part of a view that changes, as server-sent events: each time that the fleet was read and it differs.
func (w *Web) live(rw http.ResponseWriter, r *http.Request) {
	at, err := url.Parse(localPath(r.FormValue("at")))
	if err != nil {
		w.fail(rw, r, &problem{http.StatusBadRequest, "at is no path of this hub"})
		return
	}
	select {
	case w.streams <- struct{}{}:
		defer func() { <-w.streams }()
	default:
		w.fail(rw, r, &problem{http.StatusServiceUnavailable, "too many pages are open; load this one again to read it"})
		return
	}
	view := r.Clone(r.Context())
	view.URL = at
	rw.Header().Set("Content-Type", "text/event-stream")
	out := http.NewResponseController(rw)
	_ = out.SetReadDeadline(time.Time{}) // the request is complete: else the deadline of requests would end the stream
	var last []byte
	for begin := []byte("retry: 1000\n\n"); ; begin = nil {
		_, changed := w.model.ask()
		frame, html, err := w.frame(r.Context(), view, last)
		if err != nil {
			event, text, down := "ended", err.Error(), (*problem)(nil)
			if errors.As(err, &down) && down.code == http.StatusServiceUnavailable {
				event, html, err = "unreachable", last, nil // the store comes back
			}
			frame = []byte("event: " + event + "\ndata: " + (&url.URL{Path: text}).EscapedPath() + "\n\n")
		}
		_ = out.SetWriteDeadline(time.Now().Add(writeLimit)) // then the write fails
		//nolint:gosec // h has escaped it
		if _, werr := rw.Write(append(begin, frame...)); werr != nil || out.Flush() != nil || err != nil {
			return
		}
		last = html
		timer := time.NewTimer(pingEvery)
		select {
		case <-changed:
		case <-timer.C:
		case <-r.Context().Done():
		}
		timer.Stop()
		if r.Context().Err() != nil {
			return
		}
	}
}

// frame is the next event: the view if it has changed, else a sign of life.
func (w *Web) frame(ctx context.Context, view *http.Request, last []byte) (frame, html []byte, err error) {
	s, err := w.ready(view)
	if err != nil {
		return nil, nil, err
	}
	_, cookie := cookieToken(view)
	// What the answer depends on.
	id := fmt.Sprint("live ", cookie, w.o.Private(view), w.o.MayAct(view) == nil, w.o.Token(view), " ", view.URL)
	html, err = s.once(id, func() ([]byte, error) { return w.render(ctx, view, s, shown.live) })
	if err != nil {
		return nil, nil, err
	}
	if bytes.Equal(html, last) {
		return []byte("event: ping\ndata:\n\n"), html, nil
	}
	var b bytes.Buffer
	b.WriteString("event: view\n")
	for line := range bytes.Lines(html) {
		b.WriteString("data: ")
		b.Write(bytes.TrimRight(line, "\r\n"))
		b.WriteByte('\n')
	}
	b.WriteByte('\n')
	return b.Bytes(), html, nil
}

// once makes a text once for all that ask for it about this snapshot.
func (s *snapshot) once(id string, make func() ([]byte, error)) ([]byte, error) {
	s.mu.Lock()
	b, ok := s.rendered[id]
	s.mu.Unlock()
	if ok {
		return b, nil
	}
	b, err := make()
	if err == nil {
		s.mu.Lock()
		s.rendered[id] = b
		s.mu.Unlock()
	}
	return b, err
}

// search leads to the page of a name.
func (w *Web) search(rw http.ResponseWriter, r *http.Request) {
	s, err := w.ready(r)
	if err != nil {
		w.fail(rw, r, err)
		return
	}
	http.Redirect(rw, r, w.found(s, r.FormValue("q")), http.StatusSeeOther)
}
