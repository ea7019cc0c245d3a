// Package observe tells the outside what a command did: logs to syslog,
// metrics to DogStatsD and events to Datadog, under the names and with the
// tags that kvexpress 1.x used, so that its dashboards and searches go on
// working.
//
// It is never in the way: what is not enabled costs nothing, nothing is
// dialled before there is something to send, every wait has a limit, and no
// failure here fails a command.
//
// Of this module it imports kv and safetext.
package observe

// Locations are 1.x's words for where a command ended. They are the values of
// the location tag.
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
