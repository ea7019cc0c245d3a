package command

import (
	"fmt"
	"strings"
)

// environ is what the child sees: the parent's environment without secrets, then the
// caller's own entries; of two with one name the later one counts.
func environ(parent, extra []string) ([]string, error) {
	var env []string
	for _, entry := range parent {
		if name, _, _ := strings.Cut(entry, "="); !secret(name) {
			env = append(env, entry)
		}
	}
	for i, entry := range extra {
		// The entry itself may be a secret: only its place is told.
		if name, _, found := strings.Cut(entry, "="); !found || name == "" || strings.ContainsRune(entry, 0) {
			return nil, fmt.Errorf("environment entry %d is not KEY=VALUE", i+1)
		}
	}
	return append(env, extra...), nil
}

// secret reports whether a variable is kept from children. The package comment
// has the list for people.
func secret(name string) bool {
	switch name {
	case "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID": // between systemd and us
		return true
	case "CONSUL_HTTP_TOKEN", "CONSUL_HTTP_TOKEN_FILE", "CONSUL_HTTP_AUTH",
		"CONSUL_TOKEN", "CONSUL_CLIENT_KEY",
		"DATADOG_API_KEY", "DATADOG_APP_KEY",
		"DD_API_KEY", "DD_APP_KEY":
		return true
	}
	ours, found := strings.CutPrefix(name, "KVEXPRESS_")
	return found && strings.Contains(ours, "TOKEN")
}
