package outcome

import (
	"cmp"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

// docs/troubleshooting.md shows the table. KVEXPRESS_UPDATE=1 writes it again.
func TestOutcomesAreDocumented(t *testing.T) {
	const page = "../../docs/troubleshooting.md"
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	rows := "<!-- outcomes -->\n| outcome | meaning | exit code of `out` | what to do |\n|---|---|---|---|\n"
	for _, r := range All() {
		exit := "-"
		switch {
		case r.Strict:
			exit = fmt.Sprintf("0; %d with `--strict`", r.Exit)
		case r.Exit > 0 || r.Outcome == Converged:
			exit = fmt.Sprint(r.Exit)
		}
		rows += fmt.Sprintf("| `%s` | %s | %s | %s |\n", r.Outcome, r.Meaning, exit, cmp.Or(r.Remedy, "nothing"))
	}
	want := regexp.MustCompile("(?s)<!-- outcomes -->.*<!-- /outcomes -->").ReplaceAllLiteralString(string(b), rows+"<!-- /outcomes -->")
	if os.Getenv("KVEXPRESS_UPDATE") != "" {
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if want != string(b) || !strings.Contains(want, rows) {
		t.Errorf("%s is stale; KVEXPRESS_UPDATE=1 go test ./internal/outcome writes it", page)
	}
}

// Each outcome has one row, with a meaning, and a remedy unless all is well.
func TestTableIsComplete(t *testing.T) {
	all := []Outcome{Starting, Converged, Pending, Waiting, Stopped, Locked, Missing, Denied, Refused, Older, Unreachable, Failed,
		Outdated, Invalid, Unknown, NoContact, Expired}
	if len(All()) != len(all) {
		t.Errorf("%d rows, %d outcomes", len(All()), len(all))
	}
	for _, o := range all {
		i := o.Rank()
		if i < 0 {
			t.Errorf("no row for %s", o)
			continue
		}
		if r := All()[i]; r.Meaning == "" || r.Remedy == "" && o != Converged {
			t.Errorf("%+v", r)
		}
	}
	if Outcome("levitating").Rank() != -1 {
		t.Error("an unknown word has a rank")
	}
}
