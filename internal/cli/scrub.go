package cli

import (
	"slices"
	"strings"
	"unsafe"

	"github.com/spf13/pflag"
)

// HideSecrets overwrites secrets among the arguments, because every user can read them in /proc. args
// must be os.Args[1:] itself: that is the memory that the kernel shows. args gets copies of the
// secrets. Others can read a secret until then; a token file or the environment avoids that.
func HideSecrets(args []string) {
	if !slices.ContainsFunc(args, mayName) {
		return // the usual case costs nothing
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
			i++ // the next word is its value
			if secret(flag) {
				value, args[i] = args[i], strings.Clone(args[i])
				blank(value)
			}
		}
	}
}

// mayName reports whether a word may be a flag with a secret.
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

// blank overwrites the memory of s, which must be part of os.Args: that memory is writable and outside Go's heap.
func blank(s string) {
	bytes := unsafe.Slice(unsafe.StringData(s), len(s)) //nolint:gosec // see above
	for i := range bytes {
		bytes[i] = 'x'
	}
}
