//go:build linux

package play

import (
	"fmt"
	"strings"

	"kvexpress/internal/lab"
)

// invitation is what to try in another terminal.
func invitation(l *lab.Lab) string {
	n := l.Nodes[0]
	service := l.Services[0]
	var b strings.Builder
	fmt.Fprintf(&b, `
The fleet runs until Ctrl-C. In another terminal:

  . %s
  kvexpress status -k hosts
  kvexpress history -k hosts

  # take %s out of the catalog, and ask a node's DNS for it
  consul services deregister -id %s -http-addr %s -token-file "$REGISTRAR"
  dig +short @%s -p %d %s

  # freeze the key, and let go
  kvexpress stop -k hosts -r 'to see what happens' --token-file "$OPERATOR"
  kvexpress resume -k hosts --token-file "$OPERATOR"

What the programs say is in %s.`,
		lab.ShellWord(l.Environment()), service.Name, service.Name, service.Node.Addr, n.DNS.Addr(), n.DNS.Port(), lab.FQDN(service.Name), l.Logs())
	return b.String()
}
