//go:build linux

package docs

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// wrongTools are what the scripts below need: CONF is the configuration, FILE its target, KEY its key, GOOD and BAD the contents.
const wrongTools = `
eventually() { until "$@" >/dev/null 2>&1; do sleep 0.05; done; }
fails() { ! "$@" || { echo "this should fail: $*" >&2; return 1; }; }
without() { sed -i "$1" $CONF && systemctl restart kvexpress-agent; }
publish() { kvexpress in -k $KEY -l 1 -f "$1" && eventually cmp "$1" $FILE; }
changed() { sed "$1" $GOOD >/run/changed && publish /run/changed && kvexpress status -k $KEY --wait 100%; }
new() { rm -f $FILE && without "$1" && eventually test -e $FILE; }
stranger() { setpriv --reuid=nobody --regid=nogroup --clear-groups "$@"; }
`

const (
	answers   = `getent hosts db-1.svc.example | grep 192.0.2.11`
	gone      = `fails getent hosts db-2.svc.example`
	scrapes   = `scrapes() { test "$(curl -s http://127.0.0.1:9090/api/v1/targets | jq '.data.activeTargets | length')" = $1; }; `
	afresh    = `>/run/prometheus.log; systemctl restart prometheus; eventually grep 'Error reading file' /run/prometheus.log; eventually scrapes 0`
	noJob     = `minutes 2; rm -f /var/tmp/report; minutes 3; fails test -e /var/tmp/report`
	minutes   = `minutes() { n=$(($(wc -l </run/minutes) + $1)); until [ $(wc -l </run/minutes) -ge $n ]; do sleep 0.02; done; }; `
	noMore    = `fails sh -c 'sudo -l -U deploy | grep "may run"'`
	multiLine = `'/^    check:/,/"{file}"$/d'`
)

// whatGoesWrong has a script for each row of the tables below "What goes wrong": it leaves out what the row names, and fails if
// what the row says does not happen.
var whatGoesWrong = map[string]map[string]string{
	"cron": {
		"check":       minutes + `without /check:/d; publish $BAD; ` + noJob,
		"mode, owner": minutes + `without s/0644/0666/; ` + noJob + `; without 's/0666/0644/; s/root:root/nobody:root/'; ` + noJob,
		"a name of letters, digits, - and _": minutes + `rm $FILE; without 's|cron.d/report|&.new|'; eventually test -e $FILE.new; ` + noJob +
			`; rm $FILE.new`,
	},
	"dnsmasq": {
		"check":     `without /check:/d; publish $BAD; eventually ` + gone + `; ` + answers,
		"min_lines": `without /min_lines/d; changed '1!d'; eventually ` + gone,
		"exec": `without /exec:/d; changed s/192.0.2.11/192.0.2.99/; ` + answers +
			`; pkill -HUP dnsmasq; eventually sh -c 'getent hosts db-1.svc.example | grep 192.0.2.99'`,
		"mode": `new /mode:/d; test "$(stat -c %a $FILE)" = 640; eventually ` + gone,
	},
	"feature-flags": {
		"check": `without /check:/d; publish $BAD; jq '.[] | select(. == "no")' $FILE | grep no`,
		"mode":  `stranger cat $FILE; new /mode:/d; fails stranger cat $FILE`,
	},
	"haproxy": {
		"check": `get="curl -sf http://127.0.0.1:8000/maintenance"; without /check:/d; publish $BAD; $get; systemctl restart haproxy; eventually fails $get`,
		"exec":  `without /exec/d; changed 's/"maintenance"/"closed"/'; curl -s http://127.0.0.1:8000/maintenance | grep maintenance`,
		"mode": `chmod 0600 $FILE; without /mode:/d; changed s/30s/31s/; test "$(stat -c %a $FILE)" = 600
			rm $FILE; systemctl restart kvexpress-agent; eventually test -e $FILE; test "$(stat -c %a $FILE)" = 640`,
		"--max-change": `sed 's/shop/billing/; s/web-/billing-/; s/30s/40s/; s/5s/6s/' $GOOD >/run/other
			fails kvexpress in -k $KEY -f /run/other --max-change 20%; publish /run/other`,
	},
	"nginx": {
		"check": `without ` + multiLine + `; publish $BAD; fails systemctl reload nginx; curl -s http://127.0.0.1:8080/health | grep 'shop 1'; fails nginx -t -q`,
		"exec": `without /exec:/d; changed 's/shop 1/shop 2/'; changed 's/shop 1/shop 3/'; curl -s http://127.0.0.1:8080/health | grep 'shop 1'
			systemctl reload nginx; eventually sh -c "curl -s http://127.0.0.1:8080/health | grep 'shop 3'"`,
		"mode": `stranger cat $FILE; new /mode:/d; fails stranger cat $FILE; nginx -t -q`,
	},
	"prometheus": {
		"check": scrapes + `scrapes 3; without ` + multiLine + `; publish $BAD; eventually grep 'Error reading file' /run/prometheus.log; scrapes 3; ` + afresh,
		"--max-shrink": scrapes + `sed '/"b"/d; s/]},/]}/' $GOOD >/run/half; fails kvexpress in -k $KEY -l 1 -f /run/half --max-shrink 20%
			publish /run/half; eventually scrapes 2`,
		"mode": scrapes + `new /mode:/d; ` + afresh,
	},
	"script": {
		"check": `without /check:/d; publish $BAD; eventually fails test -e /etc/motd`,
		"mode":  `new /mode:/d; test "$(stat -c %a $FILE)" = 640; eventually sh -c "kvexpress status -k $KEY | grep 'exec pending'"`,
		"exec":  `without /exec:/d; changed s/Sunday/Monday/; grep Sunday /etc/motd`,
		"the drop-in": `rm /etc/systemd/system/kvexpress-agent.service.d/script.conf; systemctl restart kvexpress-agent
			sed s/Sunday/Monday/ $GOOD >/run/changed; kvexpress in -k $KEY -l 1 -f /run/changed
			eventually sh -c "kvexpress status -k $KEY | grep 'read-only file system'"`,
	},
	"sudoers": {
		"check":                  `without /check:/d; publish $BAD; sudo -l -U deploy 2>&1 | grep 'syntax error'`,
		"mode, owner":            `without s/0440/0666/; eventually ` + noMore + `; without 's/0666/0440/; s/root:root/nobody:root/'; eventually ` + noMore,
		"a name without . and ~": `rm $FILE; without 's|sudoers.d/deploy|&.new|'; eventually test -e $FILE.new; ` + noMore + `; rm $FILE.new`,
	},
}

// goesWrong follows each row of the table: what it says happens, and afterwards all is well again.
func goesWrong(t *testing.T, m *machine, file string, uses func()) {
	t.Helper()
	readme := m.source("README.md")
	_, table, _ := strings.Cut(readme, "\n| without | |\n|---|---|\n")
	table, _, _ = strings.Cut(table, "\n\n")
	scripts := whatGoesWrong[filepath.Base(m.folder)]
	rows := regexp.MustCompile(`(?m)^\| (.*?) \|`).FindAllStringSubmatch(table, -1)
	setUp := match(t, readme, "(?s)```sh\n(.*?)```")
	good := match(t, readme, `kvexpress in .* -f (\S+)`)
	bad := match(t, readme, `kvexpress in .* -f (bad\S*)`)
	key := match(t, readme, `kvexpress in -k (\S+)`)
	conf := match(t, readme, `cp agent.yml (\S+)`)
	variables := "CONF=" + conf + " FILE=" + file + " KEY=" + key + " GOOD=" + good + " BAD=" + bad + "\n"
	var named []string
	for _, row := range rows {
		name := strings.ReplaceAll(row[1], "`", "")
		named = append(named, name)
		if out, err := m.sh(variables + wrongTools + scripts[name]); err != nil || scripts[name] == "" {
			t.Errorf("without %s, the README says what does not happen, or no script shows it: %v\n%s", row[1], err, out)
		}
		m.ok("rm -f " + file + "\n" + setUp + "systemctl restart kvexpress-agent; kvexpress in -k " + key + " -l 1 -f " + good + " --wait 100%")
		uses()
	}
	for name := range scripts {
		if !slices.Contains(named, name) {
			t.Errorf("the README does not say what goes wrong without %s", name)
		}
	}
}
