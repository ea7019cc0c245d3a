package httpd

import (
	"log/slog"
	"strings"
	"sync"
	"time"
)

// handshakesEvery limits how often the log says why handshakes failed: clients could fill it.
const handshakesEvery = time.Second

// handshakes passes on what net/http says of failed TLS handshakes, and drops all else that it says.
type handshakes struct {
	log *slog.Logger // may be nil

	mu   sync.Mutex
	last time.Time
	more int // that were not logged since
}

// Write takes one line of the log of net/http.
func (h *handshakes) Write(b []byte) (int, error) {
	about, found := strings.CutPrefix(strings.TrimSpace(string(b)), "http: TLS handshake error from ")
	from, why, _ := strings.Cut(about, ": ")
	if !found || h.log == nil || why == "EOF" || strings.HasSuffix(why, "connection reset by peer") { // it only connected
		return len(b), nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if time.Since(h.last) < handshakesEvery {
		h.more++
		return len(b), nil
	}
	h.log.Warn("the TLS handshake of a client failed", "from", from, "error", why, "more", h.more)
	h.last, h.more = time.Now(), 0
	return len(b), nil
}
