// Package command runs one check or one exec: a program with arguments, never
// a shell. It owns the splitting of command lines, the time limit and its
// enforcement on the whole process group, the cap on output, and the
// environment that a child gets. Of this module it imports safetext.
//
// A child's environment is the parent's without our secrets, which are
//
//	CONSUL_HTTP_TOKEN  CONSUL_HTTP_TOKEN_FILE  CONSUL_HTTP_AUTH
//	CONSUL_TOKEN       CONSUL_CLIENT_KEY
//	DATADOG_API_KEY    DATADOG_APP_KEY
//	DD_API_KEY         DD_APP_KEY
//	KVEXPRESS_… with TOKEN anywhere after it
//
// and without what systemd told us alone: NOTIFY_SOCKET and WATCHDOG_…,
// followed by what the caller adds. A command that needs one of these must be
// given it explicitly.
package command
