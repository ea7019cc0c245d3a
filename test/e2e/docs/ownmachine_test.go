//go:build linux

package docs

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/testutil/consultest"
	"kvexpress/test/e2e"
)

// The blocks that need root, systemd or addresses of their own run on a machine that has them, in a folder with the units.
func TestOwnMachine(t *testing.T) {
	t.Parallel()
	found := 0
	for file, page := range documents(t) {
		all := marked(t, file)
		if found += len(all); len(all) == 0 {
			continue
		}
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t, "/root")
			m.ok("mkdir -p /var/lib/node_exporter && ln -s " + absolute(t, repository+"/systemd") + " systemd")
			if file == "docs/hub.md" {
				m.hubsOfPage(page)
			}
			for _, text := range all {
				if strings.HasPrefix(text, "kvexpress hub --data-dir ") { // it runs until it is stopped
					text = "{\n" + text + "} >/run/hub-of-page.log 2>&1 & until grep listening /run/hub-of-page.log; do sleep 0.1; done"
				}
				if out, err := m.sh(text); err != nil {
					t.Errorf("%s says\n%s\nand that ends with %v\n%s", file, text, err, out)
				}
			}
		})
	}
	if found < 9 {
		t.Errorf("only %d blocks were found", found)
	}
}

// hubsOfPage sets up the two hubs of docs/hub.md and a node that follows them, by the configurations of the page, and what its
// commands need: certificates, a token, addresses and consul.
func (m *machine) hubsOfPage(page string) {
	m.t.Helper()
	config := func(first string) string {
		for _, b := range blocks(page) {
			if b.kind == "yaml" && strings.HasPrefix(b.text, first) {
				return b.text
			}
		}
		m.t.Fatalf("there is no %s", first)
		return ""
	}
	write := func(name, text string) {
		m.t.Helper()
		if err := os.WriteFile(m.root("/etc/kvexpress/"+name), []byte(text), 0o600); err != nil {
			m.t.Fatal(err)
		}
	}
	dir := m.t.TempDir()
	ca := e2e.NewAuthority(m.t, dir, "ca")
	_, _, certificate := ca.Sign("tls", []net.IP{net.IPv4(10, 0, 0, 1)}, []string{"a.example", "b.example"}, time.Hour)
	for name, from := range map[string]string{"ca.crt": ca.File, "hub-ca.pem": ca.File, "tls.crt": certificate, "tls.key": certificate + ".key"} {
		write(name, content(m.t, from))
	}
	write("token", "5f0c1f5e-7d5c-4a44-9f3b-2f0d6f6f8a51")
	write("tokens.hcl", `token "5f0c1f5e-7d5c-4a44-9f3b-2f0d6f6f8a51" { name = "operator" key_prefix "kvexpress" { policy = "write" } }`)
	consul := consultest.Binary(m.t)
	m.ok(`ip address add 10.0.0.1/32 dev lo
		echo '127.0.0.2 a.example
127.0.0.3 b.example' >>/etc/hosts
		ln -s ` + consul + ` /usr/local/bin/consul
		seq 20 >hosts.new && kvexpress in -k hosts -f hosts.new`)
	hub := config("# /etc/kvexpress/hub.yml on a.example")
	for i, name := range []string{"a.example", "b.example"} {
		address := fmt.Sprintf("127.0.0.%d:8610", i+2)
		own := strings.NewReplacer("0.0.0.0:8610", address, "b.example", []string{"b.example", "a.example"}[i]).Replace(hub)
		write(name+".yml", own)
		m.ok("kvexpress hub -C /etc/kvexpress/" + name + ".yml >/run/" + name + ".log 2>&1 &")
	}
	write("agent.yml", "node: web-17\n"+config("# in agent.yml, on each node")+"targets:\n  - key: hosts\n    file: /etc/hosts.consul\n")
	m.ok(`systemctl restart kvexpress-agent
		export KVEXPRESS_HUB=a.example:8610,b.example:8610 KVEXPRESS_HUB_CACERT=/etc/kvexpress/hub-ca.pem
		kvexpress status -k hosts --wait 100% --timeout 60s
		until kvexpress status --node web-17 >/dev/null; do sleep 0.1; done`)
}
