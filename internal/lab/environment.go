//go:build linux

package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Environment is a file for a shell of somebody who wants to try something: the
// programs, Consul's address, and the tokens.
func (l *Lab) Environment() string { return filepath.Join(l.Dir, "environment") }

// writeEnvironment writes it, and the files of the roles' tokens.
func (l *Lab) writeEnvironment() error {
	var b strings.Builder
	fmt.Fprintf(&b, "export PATH=%s:%s:\"$PATH\"\nexport CONSUL_HTTP_ADDR=%s\n",
		ShellWord(filepath.Dir(l.tools.Kvexpress)), ShellWord(filepath.Dir(l.tools.Consul)), l.Servers[0].Addr)
	for role, secret := range l.secrets.roles {
		path, err := l.tokenFile(string(role), secret)
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "export %s=%s\n", strings.ToUpper(string(role)), ShellWord(path))
	}
	fmt.Fprint(&b, "export CONSUL_HTTP_TOKEN_FILE=\"$OBSERVER\"\n")
	return os.WriteFile(l.Environment(), []byte(b.String()), 0o600)
}
