package command

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

func secretNames() []string {
	return []string{
		"CONSUL_HTTP_TOKEN", "CONSUL_HTTP_TOKEN_FILE", "CONSUL_HTTP_AUTH", "CONSUL_TOKEN", "CONSUL_CLIENT_KEY",
		"DATADOG_API_KEY", "DATADOG_APP_KEY", "DD_API_KEY", "DD_APP_KEY",
		"KVEXPRESS_TOKEN", "KVEXPRESS_CONSUL_TOKEN", "KVEXPRESS_TOKEN_FILE",
	}
}

func TestChildrenDoNotSeeOurSecrets(t *testing.T) {
	for _, name := range secretNames() {
		t.Setenv(name, "hush-"+name)
	}
	t.Setenv("CONSUL_HTTP_ADDR", "127.0.0.1:8500")
	t.Setenv("KVEXPRESS_DEBUG", "1")

	// Without the filter a child does see them: so their absence below says
	// something.
	unfiltered := exec.Command("env")
	unfiltered.Env = os.Environ()
	seen, err := unfiltered.Output()
	if err != nil {
		t.Fatal(err)
	}
	result, err := Run(t.Context(), Command{Argv: []string{"env"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range secretNames() {
		if !strings.Contains(string(seen), name+"=hush-"+name+"\n") {
			t.Errorf("the control does not see %s", name)
		}
		if strings.Contains(result.Output, name+"=") {
			t.Errorf("the child sees %s", name)
		}
	}
	if strings.Contains(result.Output, "hush-") {
		t.Error("the child sees a secret's value")
	}
	for _, entry := range []string{"CONSUL_HTTP_ADDR=127.0.0.1:8500\n", "KVEXPRESS_DEBUG=1\n", "PATH="} {
		if !strings.Contains(result.Output, entry) {
			t.Errorf("the child does not see %q", entry)
		}
	}
}

func TestOwnEnvironmentComesLast(t *testing.T) {
	t.Setenv("COLOUR", "red")
	t.Setenv("CONSUL_HTTP_TOKEN", "ours")
	result, err := Run(t.Context(), Command{
		Argv: []string{"sh", "-c", `echo "$COLOUR $CONSUL_HTTP_TOKEN $EMPTY."`},
		Env:  []string{"COLOUR=green", "COLOUR=blue", "CONSUL_HTTP_TOKEN=theirs", "EMPTY="},
	})
	if err != nil || result.Output != "blue theirs .\n" {
		t.Errorf("got %q, %v", result.Output, err)
	}
}
