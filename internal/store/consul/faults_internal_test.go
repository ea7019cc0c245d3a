package consul

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"kvexpress/internal/kv"
)

// docs/troubleshooting.md shows the table. KVEXPRESS_UPDATE=1 writes it anew.
func TestFaultsAreDocumented(t *testing.T) {
	const page = "../../../docs/troubleshooting.md"
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	flags := &Store{target: target{scheme: "https", host: "consul.example:8501"}}
	file := &Store{target: flags.target, env: settings{Options: Options{File: "agent.yml"}}}
	m := symptom{store: flags, err: errors.New("")}
	table := "<!-- faults -->\n| cause | the message says | what to do | tried again |\n|---|---|---|---|\n"
	for _, f := range faults() {
		if f.remedy == "" {
			continue
		}
		says, again := flags.fill(f.says, m), "no"
		if f.kind != nil && says == "" {
			says = f.kind.Error()
		}
		if !f.final && (f.kind == nil || errors.Is(f.kind, kv.ErrUnreachable)) {
			again = "yes"
		}
		table += fmt.Sprintf("| %s | %s | %s | %s |\n", f.name, says, flags.fill(f.remedy, m), again)
		for _, text := range []string{flags.fill(f.says+f.remedy, m), file.fill(f.says+f.remedy, m)} {
			if strings.ContainsAny(text, "{}") {
				t.Errorf("%s: a name in braces is left: %s", f.name, text)
			}
		}
	}
	want := regexp.MustCompile("(?s)<!-- faults -->.*<!-- end -->").ReplaceAllLiteralString(string(b), table+"<!-- end -->")
	if os.Getenv("KVEXPRESS_UPDATE") != "" {
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if want != string(b) {
		t.Errorf("%s is stale; KVEXPRESS_UPDATE=1 go test ./internal/store/consul writes it", page)
	}
}
