package consulhttp

import (
	"errors"
	"io"
	"net/http"
	"strconv"
)

const (
	plainText = "text/plain; charset=utf-8"
	jsonText  = "application/json"
)

// problem is an error with a status.
type problem struct {
	code int
	text string
}

func (p *problem) Error() string { return p.text }

func status(code int, text string) error { return &problem{code, text} }

// fail answers with an error as Consul does: its text, and 500 unless it has a status.
func fail(w http.ResponseWriter, err error) {
	code := http.StatusInternalServerError
	var known *problem
	var denied *denial
	switch {
	case errors.As(err, &known):
		code = known.code
	case errors.As(err, &denied), errors.Is(err, ErrUnknownToken):
		code = http.StatusForbidden
	}
	w.Header().Set("Content-Type", plainText)
	write(w, code, err.Error())
}

// write sends a short text. That a client is gone is no error of ours.
func write(w http.ResponseWriter, code int, text string) {
	w.WriteHeader(code)
	_, _ = io.WriteString(w, text) // the client is told by the connection
}

// setMeta sets the headers that tell of a read.
func setMeta(w http.ResponseWriter, index uint64, known, filtered bool) {
	setContact(w, known)
	w.Header().Set("X-Consul-Index", strconv.FormatUint(max(index, 1), 10)) // 0 would make clients ask without a pause
	w.Header().Set("X-Consul-Query-Backend", "blocking-query")
	if filtered {
		w.Header().Set("X-Consul-Results-Filtered-By-Acls", "true")
	}
}

func setContact(w http.ResponseWriter, known bool) {
	w.Header().Set("X-Consul-Lastcontact", "0")
	w.Header().Set("X-Consul-Knownleader", strconv.FormatBool(known))
}
