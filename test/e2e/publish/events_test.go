package publish

import (
	"slices"
	"strings"
	"testing"

	"kvexpress/test/e2e"
)

// The Datadog events of real commands, with the titles and tags of 1.x.
func TestEvents(t *testing.T) {
	t.Parallel()
	_, m := e2e.Start(t)
	dog := newDatadog(t)
	m = m.With("DATADOG_HOST=" + dog.url)
	host := e2e.Hostname(t)
	tags := func(key, direction, location string, more ...string) []string {
		return append([]string{"key:" + key, "host:" + host, "direction:" + direction, "location:" + location}, more...)
	}
	m.File("one", e2e.Text("one", 20))
	m.File("two", strings.Replace(e2e.Text("one", 20), "one-3.", "two-3.", 1))
	m.File("short", e2e.Text("short", 3))
	m.File("empty", "")
	for _, c := range []struct {
		name string
		args []string
		code int
		want *event
		text []string // that is part of the text
	}{
		{"update", []string{"in", "-k", "hosts", "-f", "one"}, 0, &event{
			Title: "Updated: kvexpress/hosts/data", AlertType: "info",
			Tags: tags("kvexpress/hosts/data", "in", "complete", "kvexpress:success"),
		}, []string{"+127.0.0.1 one-0.example\n"}},
		{"update with a diff", []string{"in", "-k", "hosts", "-f", "two"}, 0, &event{
			Title: "Updated: kvexpress/hosts/data", AlertType: "info",
			Tags: tags("kvexpress/hosts/data", "in", "complete", "kvexpress:success"),
		}, []string{" 127.0.0.3 one-2.example\n-127.0.0.4 one-3.example\n+127.0.0.4 two-3.example\n 127.0.0.5"}},
		{"the same", []string{"in", "-k", "hosts", "-f", "two"}, 0, nil, nil},
		{"too short", []string{"in", "-k", "hosts", "-f", "short"}, 6, &event{
			Title: "Not long enough: hosts. Stopping.", AlertType: "error",
			Tags: tags("hosts", "in", "not_long_enough", "kvexpress:length"),
		}, []string{"3 lines", e2e.Text("short", 3)}},
		{"empty", []string{"in", "-k", "hosts", "-f", "empty"}, 6, &event{
			Title: "Not long enough: hosts. Stopping.", AlertType: "error",
			Tags: tags("hosts", "in", "not_long_enough", "kvexpress:length"),
		}, []string{"empty"}},
		{"copy", []string{"copy", "--keyfrom", "hosts", "--keyto", "copied"}, 0, &event{
			Title: "Copy: hosts to copied", Text: "Copy: hosts to copied", AlertType: "info",
			Tags: tags("copied", "copy", "complete", "kvexpress:success", "keyFrom:hosts"),
		}, nil},
		{"copy with a message", []string{"copy", "--keyfrom", "hosts", "--keyto", "copied2", "-m", "why"}, 0, &event{
			Title: "Copy: hosts to copied2", Text: "Copy: hosts to copied2", AlertType: "info",
			Tags: tags("copied2", "copy", "complete", "kvexpress:success", "keyFrom:hosts"),
		}, nil},
		{"copy, the same", []string{"copy", "--keyfrom", "hosts", "--keyto", "copied"}, 0, nil, nil},
		{"a dry run", []string{"in", "-k", "hosts", "-f", "one", "--dry-run"}, 0, nil, nil},
		{"stop", []string{"stop", "-k", "hosts", "-r", "a reason"}, 0, &event{
			Title: "Set Stop Key: kvexpress/hosts/stop", Text: "a reason", AlertType: "warning",
			Tags: tags("kvexpress/hosts/stop", "stop", "stop_key_save", "kvexpress:stop_set"),
		}, nil},
		{"stopped", []string{"in", "-k", "hosts", "-f", "one"}, 3, &event{
			Title: "Stop key is present: kvexpress/hosts/stop. Stopping.", Text: "a reason", AlertType: "error",
			Tags: tags("kvexpress/hosts/stop", "in", "stop_key_present", "kvexpress:stop"),
		}, nil},
		{"a stopped node", []string{"out", "-k", "hosts", "-f", m.Path("hosts")}, 0, nil, nil},
	} {
		args := append(c.args, "-a", "api-secret", "-A", "app-secret", "--verbose")
		r := m.Want(c.code, args...)
		if strings.Contains(r.Stdout+r.Stderr, "-secret") {
			t.Errorf("%s: a key shows in the output: %s%s", c.name, r.Stdout, r.Stderr)
		}
		got := dog.take()
		if c.want == nil {
			if len(got) > 0 {
				t.Errorf("%s sends %+v", c.name, got)
			}
			continue
		}
		if len(got) != 1 {
			t.Errorf("%s sends %d events: %+v", c.name, len(got), got)
			continue
		}
		e, want := got[0], c.want
		if e.Title != want.Title || e.AlertType != want.AlertType || !slices.Equal(e.Tags, want.Tags) || want.Text != "" &&
			e.Text != want.Text {
			t.Errorf("%s sends\n%+v\nwant\n%+v", c.name, e, *want)
		}
		for _, part := range c.text {
			if !strings.Contains(e.Text, part) {
				t.Errorf("%s: the text does not contain %q:\n%s", c.name, part, e.Text)
			}
		}
		if e.path != "POST /api/v1/events" || e.apiKey != "api-secret" || e.appKey != "app-secret" {
			t.Errorf("%s goes to %s as %s and %s", c.name, e.path, e.apiKey, e.appKey)
		}
	}

	// The file of -C has the keys and the host. A flag wins over it.
	full := m.File("full.yml", "datadog_api_key: of-file\ndatadog_app_key: app\ndatadog_host: "+dog.url+"\n")
	m.Ok("resume", "-k", "hosts")
	for content, flags := range map[string][]string{"of-file": nil, "of-flag": {"-a", "of-flag"}} {
		m.File("source", e2e.Text(content, 20))
		m.With("DATADOG_HOST=").Ok(append([]string{"in", "-k", "hosts", "-f", "source", "-C", full}, flags...)...)
		if got := dog.take(); len(got) != 1 || got[0].apiKey != content || got[0].appKey != "app" {
			t.Errorf("with the key %s it sends %+v", content, got)
		}
	}

	// Both keys are needed.
	m.Ok("in", "-k", "hosts", "-f", "one", "-a", "api-secret")
	if got := dog.take(); len(got) > 0 {
		t.Errorf("with one key alone it sends %+v", got)
	}
	// Datadog is unreachable: the publish still succeeds.
	unreachable := m.With("DATADOG_HOST=http://127.0.0.1:1")
	if got := unreachable.Ok("in", "-k", "hosts", "-f", "two", "-a", "a", "-A", "b", "--verbose"); !strings.Contains(got, "not posted") {
		t.Errorf("no message says that the event was lost:\n%s", got)
	}
}
