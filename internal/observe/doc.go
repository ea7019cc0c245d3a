// Package observe reports what a command did: logs to syslog, metrics to DogStatsD, events to Datadog, and metrics in Prometheus'
// text format. Names and tags of the first three are kvexpress 1.x's, so that its dashboards and searches still work. Of this
// module it imports kv and safetext.
//
// Observing never fails or delays a command: a disabled output costs nothing, nothing connects before there is something to send,
// and every wait has a limit.
//
// Prometheus' text format is written by hand. Its Go client brings protobuf: megabytes, and time at each start of `out`. Tests
// read the output with Prometheus' own parser and linter.
package observe

// The values of 1.x's location tag: where a command ended.
const (
	LocationComplete         = "complete"
	LocationNotLongEnough    = "not_long_enough"
	LocationChecksumMismatch = "checksum_mismatch"
	LocationSameFile         = "file_checksums_match"
	LocationSameStored       = "consul_checksums_match"
	LocationNoData           = "error_no_data"
	LocationStopped          = "stop_key"
	LocationStopPresent      = "stop_key_present"
	LocationStopSaved        = "stop_key_save"
	LocationLocked           = "lock_key"
	LocationNoMoreRetries    = "no_more_retries"
	LocationSet              = "set"
	LocationDelete           = "delete"
	LocationReadURL          = "read_url"
	LocationWriteFile        = "write_file"
	LocationRenameFile       = "rename_file"
)
