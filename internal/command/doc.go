// Package command runs one check or one exec: a program with arguments, never a shell. It owns the splitting of command lines,
// the time limit of the whole process group, the cap on output, and the environment of a child. Of this module it imports
// safetext.
//
// A child's environment is the parent's without our secrets, which are
//
//	CONSUL_HTTP_TOKEN  CONSUL_HTTP_TOKEN_FILE  CONSUL_HTTP_AUTH
//	CONSUL_TOKEN       CONSUL_CLIENT_KEY
//	DATADOG_API_KEY    DATADOG_APP_KEY
//	DD_API_KEY         DD_APP_KEY
//	KVEXPRESS_… with TOKEN anywhere after it
//
// and without systemd's NOTIFY_SOCKET and WATCHDOG_…, followed by the entries of the caller. A command that needs one of these
// must get it from there.
package command
