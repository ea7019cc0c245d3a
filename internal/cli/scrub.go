package cli

import (
	"slices"
	"strings"
	"unsafe"

	"github.com/spf13/pflag"
)

// HideSecrets hides secrets that were given as arguments from the process list.
// args must be words of os.Args and nothing else: they are the memory that the
// kernel shows in /proc. Each secret is copied, and the original overwritten. That
// narrows the time in which others can read it; a token file or the environment
// avoids it.
func HideSecrets(args []string) {
	if !slices.ContainsFunc(args, mayName) {
		return // mostly so: no flags are set up twice
	}
	root := (&App{}).newRoot()
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			return
		}
		flag, value, given := readFlag(root, arg)
		switch {
		case flag == nil:
		case given && secret(flag):
			args[i] = strings.Clone(arg)
			blank(value)
		case !given && flag.NoOptDefVal == "" && i+1 < len(args):
			i++ // it takes the next word, whatever that is
			if secret(flag) {
				value, args[i] = args[i], strings.Clone(args[i])
				blank(value)
			}
		}
	}
}

// mayName reports whether a word may name a secret's flag.
func mayName(word string) bool {
	if name, ok := strings.CutPrefix(word, "--"); ok {
		return strings.HasPrefix(name, "token") || strings.HasPrefix(name, "datadog")
	}
	return strings.HasPrefix(word, "-") && strings.ContainsAny(word, "taA")
}

func secret(f *pflag.Flag) bool {
	switch f.Name {
	case "token", "datadog-api-key", "datadog-app-key":
		return true
	}
	return false
}

// blank overwrites the memory of s. Only words of os.Args come here: they are in
// writable memory, outside Go's heap, and nobody else holds them.
func blank(s string) {
	bytes := unsafe.Slice(unsafe.StringData(s), len(s)) //nolint:gosec // see above
	for i := range bytes {
		bytes[i] = 'x'
	}
}
