package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"kvexpress/internal/publish"
)

// Variables that only the scripts' kvexpress knows.
const (
	// envState is the state folder without --state-dir: as root, the scripts
	// would share the machine's own otherwise.
	envState = "KVEXPRESS_TEST_STATE"
	// envRival is the full path of a row that somebody else changes before
	// each publish.
	envRival = "KVEXPRESS_TEST_RIVAL"
)

// TestMain makes the test binary double as kvexpress.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"kvexpress": kvexpress})
}

// kvexpress is cmd/kvexpress with what the scripts put into it.
func kvexpress() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	HideSecrets(os.Args[1:])
	app := App{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv,
		StateDir: os.Getenv(envState),
	}
	if !filepath.IsAbs(app.StateDir) {
		fmt.Fprintf(os.Stderr, "%s is not set: this would write to the machine's own state\n", envState)
		os.Exit(99)
	}
	if row := os.Getenv(envRival); row != "" {
		app.PublishFault = rival(row)
	}
	code := app.Run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

// rival changes a row each time that a publish is about to write.
func rival(row string) func(publish.Point) error {
	turn := 0
	return func(step publish.Point) error {
		if step != publish.AtPromote {
			return nil
		}
		turn++ // other flags: the same would change nothing
		url := fmt.Sprintf("http://%s/v1/kv/%s?flags=%d", os.Getenv("CONSUL_HTTP_ADDR"), row, turn)
		req, err := http.NewRequestWithContext(context.Background(), http.MethodPut, url, nil)
		if err != nil {
			return err
		}
		req.Header.Set("X-Consul-Token", os.Getenv("CONSUL_HTTP_TOKEN"))
		resp, err := (&http.Client{}).Do(req)
		if err == nil && resp.StatusCode != http.StatusOK {
			err = fmt.Errorf("the rival gets status %d", resp.StatusCode)
		}
		if resp != nil {
			err = errors.Join(err, resp.Body.Close())
		}
		return err
	}
}
