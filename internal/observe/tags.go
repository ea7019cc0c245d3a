package observe

import (
	"strings"
	"unicode"

	"kvexpress/internal/safetext"
)

// maxTag is Datadog's limit on a tag, which also keeps a metric in a datagram.
const maxTag = 200

// origin is where metrics and events come from: the same for a whole command.
type origin struct {
	host      string // the operating system's host name
	direction string // the command's name
}

// tags are the four that 1.x put on everything, in its order.
func (o origin) tags(key, location string) []string {
	return []string{tag("key", key), tag("host", o.host), tag("direction", o.direction), tag("location", location)}
}

// tag formats one tag. Characters that DogStatsD's format gives a meaning, and
// controls, become underscores.
func tag(name, value string) string {
	value = strings.Map(func(r rune) rune {
		if r == ',' || r == '|' || r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return '_'
		}
		return r
	}, value)
	return safetext.Cut(name+":"+value, maxTag)
}
