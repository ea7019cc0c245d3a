package kv

import "errors"

// Every error of a Store wraps one of these, or has one as its cause.
var (
	// ErrUnreachable: no answer, or an answer that asks to retry (5xx, 429, no leader). Nothing was written.
	ErrUnreachable = errors.New("the store is unreachable")
	// ErrUnknownOutcome: a write was sent and may have been applied (time-out, lost connection, lost leadership).
	ErrUnknownOutcome = errors.New("the outcome of the write is unknown")
	// ErrCrowded is the cause of an ErrUnreachable if the store limits requests or connections.
	ErrCrowded = errors.New("too many requests at once")
	// ErrDenied: the token has no permission.
	ErrDenied = errors.New("permission denied")
	// ErrConflict: a check of the transaction failed.
	ErrConflict = errors.New("another client changed the store")
	// ErrNotStore: the answer does not follow the store's protocol, such as a captive portal or a proxy's error page.
	ErrNotStore = errors.New("the answer does not come from Consul")
	// ErrLongAnswer is the cause if an answer has more bytes than the requested rows can have.
	ErrLongAnswer = errors.New("the answer is too long")
	// ErrTooLarge: a request or its answer exceeds a limit on size.
	ErrTooLarge = errors.New("too large for one transaction")
	// ErrRequest: the store rejects this request; retrying does not help.
	ErrRequest = errors.New("the store refused the request")
)

// StoreError is the error of a Store: the operation, the store, the sentinel that classifies it, and the cause. It contains no
// token.
type StoreError struct {
	Op     string // for people: "read kvexpress/hosts/checksum"
	Addr   string // where the store is
	Kind   error  // one of the sentinels above
	Says   string // the cause in words; may be ""
	Cause  error  // may be nil
	Remedy string // what to do; may be ""
	Final  bool   // retrying does not help
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

// Unwrap returns the sentinel and the cause.
func (e *StoreError) Unwrap() []error {
	if e.Cause == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Cause}
}

// Remedy returns the remedy in a StoreError; "" if there is none.
func Remedy(err error) string {
	if e, ok := errors.AsType[*StoreError](err); ok {
		return e.Remedy
	}
	return ""
}
