package cli

import (
	"errors"

	"kvexpress/internal/deliver"
	"kvexpress/internal/gate"
	"kvexpress/internal/kv"
	"kvexpress/internal/observe"
)

// placeOf is 1.x's word for a refusal, in the location tag.
func placeOf(r gate.Reason) string {
	switch r {
	case gate.TooShort:
		return observe.LocationNotLongEnough
	case gate.Mismatch, gate.Corrupt:
		return observe.LocationChecksumMismatch
	case gate.Empty:
		return "error_no_data"
	}
	return string(r)
}

// observeStore counts what went wrong with the store, as 1.x did.
func (s *session) observeStore(err error, operation string) {
	switch {
	case errors.Is(err, kv.ErrUnreachable):
		s.place = "no_more_retries"
		s.metrics.Panic(s.about, s.place)
	case errors.Is(err, kv.ErrUnknownOutcome), errors.Is(err, kv.ErrDenied), errors.Is(err, kv.ErrNotStore), errors.Is(err, kv.ErrRequest):
		s.place = operation
		s.metrics.ConsulError(s.about, operation)
	}
}

// observeDelivery tells log and metrics what became of a delivery.
func (s *session) observeDelivery(t deliver.Target, r deliver.Result, err error) {
	name := r.Key
	switch r.Outcome {
	case deliver.Installed, deliver.Restored, deliver.Repaired:
		s.log.Info(string(r.Outcome), "key", name, "file", t.File, "version", r.Version, "sha256", r.SHA256)
	case deliver.Unchanged:
		s.log.Debug("unchanged", "key", name, "file", t.File)
	}
	if r.Outcome == deliver.Installed {
		if t.Raw != "" {
			s.metrics.Raw(name)
		} else {
			s.metrics.Out(name)
		}
	}
	var refusal *gate.Refusal
	switch {
	case err == nil:
	case as[*gate.Locked](err):
		s.place, s.about = "lock_key", t.File
		s.metrics.Locked(t.File)
	case as[*gate.Stopped](err):
		s.place = "stop_key"
	case errors.As(err, &refusal):
		s.place = placeOf(refusal.Reason)
		switch s.place {
		case observe.LocationNotLongEnough:
			s.metrics.NotLongEnough(name)
		case observe.LocationChecksumMismatch:
			s.metrics.ChecksumMismatch(name)
		}
	default:
		s.observeStore(err, "get")
	}
}
