package observe

import (
	"strings"
	"unicode"

	"kvexpress/internal/safetext"
)

// maxTag is Datadog's limit on a tag, in bytes. It also keeps a metric in one datagram.
const maxTag = 200

// origin is the source of the metrics and events of a command.
type origin struct {
	host      string // the operating system's host name
	direction string // the command's name
}

// tags returns 1.x's four tags, in its order.
func (o origin) tags(key, location string) []string {
	return []string{tag("key", key), tag("host", o.host), tag("direction", o.direction), tag("location", location)}
}

// tag formats one tag. Separators of DogStatsD's format and control characters become underscores.
func tag(name, value string) string {
	value = strings.Map(func(r rune) rune {
		if r == ',' || r == '|' || r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return '_'
		}
		return r
	}, value)
	return safetext.Cut(name+":"+value, maxTag)
}
