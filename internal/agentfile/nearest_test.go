package agentfile

import (
	"strings"
	"testing"
)

func TestNearest(t *testing.T) {
	keys := append(names(mainFields()), names(targetFields())...)
	for word, want := range map[string]string{
		"mod": "mode", "moed": "mode", "mdoe": "mode", "modes": "mode", "MODE": "mode", "min-lines": "min_lines", "minlines": "min_lines", "Min Lines": "min_lines",
		"fil": "file", "onwer": "owner", "own": "owner", "restore": "restore_on_failure", "tls": "tls_server_name", "prefx": "prefix", "check_time": "check_timeout",
		"client": "", "ca": "", "x": "", "": "", "ke": "key", "color": "", "timeout": "", "execute": "", "targts": "targets", "store": "stores",
		strings.Repeat("mode", 1000): "",
	} {
		if got := Nearest(word, keys); got != want {
			t.Errorf("%.40q: %q, want %q", word, got, want)
		}
	}
	for _, key := range keys {
		if got := Nearest(key, keys); got != key {
			t.Errorf("%s is nearest to %q", key, got)
		}
	}
}

func TestEdits(t *testing.T) {
	for pair, want := range map[[2]string]int{
		{"", ""}: 0, {"a", ""}: 1, {"", "ab"}: 2, {"abc", "abc"}: 0, {"abc", "acb"}: 1, {"abc", "abd"}: 1, {"abc", "ab"}: 1, {"abcd", "badc"}: 2, {"kitten", "sitting"}: 3,
	} {
		if got := edits(pair[0], pair[1]); got != want {
			t.Errorf("%q: %d edits, want %d", pair, got, want)
		}
	}
}
