package cli

import (
	"errors"

	"kvexpress/internal/atomicfile"
	"kvexpress/internal/gate"
	"kvexpress/internal/install"
	"kvexpress/internal/kv"
	"kvexpress/internal/observe"
)

// placeOf is the location tag of a refusal, in the words of 1.x. For 1.x, empty content had one line: too few.
func placeOf(r gate.Reason) string {
	switch r {
	case gate.TooShort, gate.Empty:
		return observe.LocationNotLongEnough
	case gate.Mismatch, gate.Corrupt:
		return observe.LocationChecksumMismatch
	}
	return string(r)
}

// observeFailure records where a command failed, and counts the failures that 1.x counted. path is the row to write or delete,
// and operation the word of 1.x for that; both are empty for a command that only reads.
func (s *session) observeFailure(err error, path, operation string) {
	var refusal *gate.Refusal
	switch code := exitCode(err); {
	case errors.As(err, &refusal):
		s.place = placeOf(refusal.Reason)
	case code == exitMissing:
		s.place = observe.LocationNoData
	case code == exitConflict:
		s.place = operation
	case code == exitStore && (operation == "" || errors.Is(err, kv.ErrUnreachable)):
		s.panicked(s.about, observe.LocationNoMoreRetries)
	case code == exitStore:
		s.place = operation
		s.metrics.Count("consul_error", path, operation)
	}
}

// panicked counts a failure that 1.x called a panic: its cause is not the data.
func (s *session) panicked(about, place string) {
	s.place = place
	s.metrics.Count("panic", about, place)
}

// observeDelivery logs and measures an install.
func (s *session) observeDelivery(t install.Target, r install.Result, missingOK bool, err error) {
	name := r.Key
	switch r.Action {
	case install.Installed, install.Restored, install.Repaired:
		s.log.Info(string(r.Action), "key", name, "file", t.File, "version", r.Version, "sha256", r.SHA256)
	case install.Unchanged:
		s.place = observe.LocationSameFile
		s.log.Debug("unchanged", "key", name, "file", t.File)
	}
	if r.Action == install.Installed {
		metric := "out"
		if t.Raw != "" {
			metric = "raw"
		}
		s.metrics.Count(metric, name, observe.LocationComplete)
	}
	if err == nil {
		return
	}
	s.observeFailure(err, "", "")
	switch code := exitCode(err); {
	case code == exitLocked:
		s.place, s.about = observe.LocationLocked, t.File
		s.metrics.Count("locked", t.File, observe.LocationComplete)
	case code == exitStopped:
		s.place = observe.LocationStopped
	case code == exitMissing && !missingOK:
		// For 1.x a missing key had one line, and a checksum that was not its own.
		s.metrics.Count("not_long_enough", name, observe.LocationNotLongEnough)
		s.metrics.Count("checksum_mismatch", name, observe.LocationChecksumMismatch)
	case s.place == observe.LocationNotLongEnough, s.place == observe.LocationChecksumMismatch:
		s.metrics.Count(s.place, name, s.place)
	case as[*atomicfile.RenameError](err):
		s.panicked(t.File, observe.LocationRenameFile)
	case code == exitOther:
		s.panicked(t.File, observe.LocationWriteFile)
	}
}
