package kv

import "errors"

// What a Store's errors wrap.
var (
	// ErrUnreachable: no answer, or one that says "try again" (5xx, 429, no
	// leader). Nothing was written.
	ErrUnreachable = errors.New("the store is unreachable")
	// ErrUnknownOutcome: a Commit was sent, and it is not known whether it was
	// applied (time-out, lost connection, lost leadership).
	ErrUnknownOutcome = errors.New("the outcome of the write is unknown")
	// ErrCrowded is the cause of an ErrUnreachable where the store refuses to serve so many requests at once.
	ErrCrowded = errors.New("too many requests at once")
	// ErrDenied: the token may not do this.
	ErrDenied = errors.New("permission denied")
	// ErrConflict: a check of the transaction did not hold.
	ErrConflict = errors.New("the store has changed in between")
	// ErrNotStore: what answered does not speak the store's protocol, such as
	// a captive portal or a proxy's error page.
	ErrNotStore = errors.New("the answer does not come from Consul")
	// ErrLongAnswer is the cause where the answer to a Read has more bytes than so many rows may have.
	ErrLongAnswer = errors.New("the answer is too long")
	// ErrTooLarge: the store refused the size of a request.
	ErrTooLarge = errors.New("too large for one transaction")
	// ErrRequest: the store understood the request and refused it for good.
	ErrRequest = errors.New("the store refused the request")
)

// StoreError is what a Store returns: which operation on which store failed,
// the sentinel that classifies it, and the cause. No token is ever in it.
type StoreError struct {
	Op     string // for people: "read kvexpress/hosts/checksum"
	Addr   string // where the store is
	Kind   error  // one of the sentinels above
	Says   string // the cause in words, beside those of Kind; may be ""
	Cause  error  // may be nil
	Remedy string // what to do about it; "": the store does not know
	Final  bool   // trying again does not help
}

func (e *StoreError) Error() string {
	s := e.Op
	if e.Addr != "" {
		s += " at " + e.Addr
	}
	s += ": " + e.Kind.Error()
	if e.Says != "" {
		s += ": " + e.Says
	}
	if e.Cause != nil {
		s += ": " + e.Cause.Error()
	}
	return s
}

// Unwrap makes errors.Is find the sentinel and errors.As the cause.
func (e *StoreError) Unwrap() []error {
	if e.Cause == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Cause}
}

// Remedy is what the store says to do about an error of its own; "" if it does not know.
func Remedy(err error) string {
	if e, ok := errors.AsType[*StoreError](err); ok {
		return e.Remedy
	}
	return ""
}
