package command

import "strings"

// environ is the environment of a child: the parent's without secrets, then the caller's entries. The last entry of a name
// counts.
func environ(parent, extra []string) []string {
	var env []string
	for _, entry := range parent {
		if name, _, _ := strings.Cut(entry, "="); !secret(name) {
			env = append(env, entry)
		}
	}
	return append(env, extra...)
}

// secret reports whether children do not get a variable. The package comment has the list for people.
func secret(name string) bool {
	switch name {
	case "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID",
		"CONSUL_HTTP_TOKEN", "CONSUL_HTTP_TOKEN_FILE", "CONSUL_HTTP_AUTH", "CONSUL_TOKEN", "CONSUL_CLIENT_KEY",
		"DATADOG_API_KEY", "DATADOG_APP_KEY", "DD_API_KEY", "DD_APP_KEY":
		return true
	}
	ours, found := strings.CutPrefix(name, "KVEXPRESS_")
	return found && strings.Contains(ours, "TOKEN")
}
