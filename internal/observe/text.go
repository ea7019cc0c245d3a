package observe

import (
	"strings"

	"kvexpress/internal/safetext"
)

// maxValue is the size in bytes above which a value or message is cut in logs.
const maxValue = 4096

// pair formats one attribute of a log line, with a space before it.
func pair(key, value string) string {
	value = strings.ReplaceAll(safetext.Cut(value, maxValue), `\`, `\\`)
	return " " + safetext.Line(key, maxValue) + "='" + strings.ReplaceAll(safetext.Line(value, maxValue), "'", `\'`) + "'"
}
