package cli

import (
	"strings"
	"unsafe"
)

// HideSecrets hides secrets that were given as arguments from the process list.
// args must be words of os.Args and nothing else: they are the memory that the
// kernel shows in /proc. Each secret is copied, and the original overwritten. That
// narrows the time in which others can read it; a token file or the environment
// avoids it.
func HideSecrets(args []string) {
	root := (&App{}).newRoot()
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			return
		}
		if name, value, ok := strings.Cut(arg, "="); ok && secret(strings.TrimLeft(name, "-")) && strings.HasPrefix(name, "-") {
			args[i] = strings.Clone(arg)
			blank(value)
			continue
		}
		flag := opens(root, arg)
		if flag == nil {
			if len(arg) > 2 && arg[0] == '-' && arg[1] != '-' && secret(arg[1:2]) {
				args[i] = strings.Clone(arg) // -tSECRET
				blank(arg[2:])
			}
			continue
		}
		if flag.NoOptDefVal != "" || i+1 == len(args) {
			continue
		}
		i++
		if secret(flag.Name) {
			value := args[i]
			args[i] = strings.Clone(value)
			blank(value)
		}
	}
}

func secret(name string) bool {
	switch string(dashes(nil, name)) {
	case "token", "t", "datadog-api-key", "a", "datadog-app-key", "A":
		return true
	}
	return false
}

// blank overwrites the memory of s. Only words of os.Args come here: they are in
// writable memory, outside Go's heap, and nobody else holds them.
func blank(s string) {
	bytes := unsafe.Slice(unsafe.StringData(s), len(s))
	for i := range bytes {
		bytes[i] = 'x'
	}
}
