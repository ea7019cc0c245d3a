package config

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

func TestNearest(t *testing.T) {
	l := &loader{}
	keys := slices.Sorted(maps.Keys(l.mainSetters()))
	keys = append(keys, slices.Sorted(maps.Keys(l.targetSetters(&Target{})))...)
	for word, want := range map[string]string{
		"mod": "mode", "moed": "mode", "mdoe": "mode", "modes": "mode", "MODE": "mode", "ke": "key", "fil": "file",
		"min-lines": "min_lines", "minlines": "min_lines", "Min Lines": "min_lines", "onwer": "owner", "own": "owner",
		"restore": "restore_on_failure", "tls": "tls_server_name", "prefx": "prefix", "check_time": "check_timeout",
		"targts": "targets", "store": "stores", "client": "", "ca": "", "x": "", "": "", "color": "", "timeout": "",
		"execute": "", strings.Repeat("mode", 1000): "",
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
