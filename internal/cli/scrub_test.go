package cli

import (
	"slices"
	"strings"
	"testing"
	"unsafe"
)

// However a secret is given: the program keeps it, and the memory that the process
// list shows loses it, and nothing else.
func TestHideSecrets(t *testing.T) {
	const token = "6b2c-opensesame"
	hidden := strings.Repeat("x", len(token))
	for _, line := range []string{
		"in -k hosts -t SECRET -f file",
		"in -k hosts -tSECRET -f file",
		"in -k hosts -t=SECRET -f file",
		"in -dt SECRET -k hosts",
		"in -dtSECRET -k hosts",
		"in -zdt=SECRET -k hosts",
		"in --token SECRET -k hosts",
		"in --token=SECRET -k hosts",
		"-t SECRET in -k hosts",
		"in -a SECRET -A SECRET",
		"in --datadog_api_key SECRET --datadog-app-key=SECRET",
		"in -d true -t SECRET",
		"version --token=SECRET",
	} {
		given := strings.Fields(strings.ReplaceAll(line, "SECRET", token))
		shown := make([]string, len(given)) // the memory of the words, as the kernel sees it
		args := make([]string, len(given))
		for i, word := range given {
			memory := []byte(word)
			shown[i] = unsafe.String(&memory[0], len(memory))
			args[i] = shown[i]
		}
		HideSecrets(args)
		if !slices.Equal(args, given) {
			t.Errorf("%s: the program is left with %q", line, args)
		}
		want := strings.Fields(strings.ReplaceAll(line, "SECRET", hidden))
		if !slices.Equal(shown, want) {
			t.Errorf("%s: the process list shows %q, want %q", line, shown, want)
		}
	}
}

// Other words are not overwritten: their memory may be read-only.
func TestHideSecretsLeavesTheRest(t *testing.T) {
	for _, line := range []string{
		"in -k hosts -f file -l 100", "in -k -t -f token", "in -e --token=x", "in -- -t word",
		"out --token-file file", "in -t", "in --token", "nosuch --nosuch=t -W t", "",
	} {
		args := strings.Fields(line) // string constants: a write to them ends the test
		HideSecrets(args)
		if got := strings.Join(args, " "); got != line {
			t.Errorf("%s becomes %s", line, got)
		}
	}
}
