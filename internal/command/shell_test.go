package command

import "testing"

func TestShellSyntax(t *testing.T) {
	for line, want := range map[string]string{
		"a | b": "|", "a || b": "||", "a && b": "&&", "a ; b": ";", "a > f": ">", "a >> f": ">>", "a < f": "<", "a &": "&",
		"a 2>&1": "2>&1", "a $(b c)": "$(b", "a `b`": "`b`",
		"a >/dev/null": ">/dev/null", "a 2>/dev/null": "2>/dev/null", "a &>f": "&>f", "a <<EOF": "<<EOF", "a <(b)": "<(b)",
		"a; b": "a;", "sleep 1&": "1&", "true&&b": "true&&b", "chown x $KVEXPRESS_FILE": "$KVEXPRESS_FILE", "a ${X}": "${X}",
		`find / -exec b \;`: `\;`, `'a b' && c`: "&&", `a "b" ; 'c'`: ";",
		"pkill -HUP dnsmasq": "", "sh -c 'a && b; c >f'": "", `sh -c "a | $(b) 'c'"`: "", `a '|' ";"`: "",
		"curl http://x/?a=1&b=2": "", "grep -E a|b {file}": "", "grep ^a$ $1 {file}": "", `a \"b\" -- x=y -`: "", "a->b": "",
	} {
		if got := ShellSyntax(line); got != want {
			t.Errorf("in %q it finds %q, want %q", line, got, want)
		}
	}
}
