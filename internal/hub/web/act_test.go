package web_test

import (
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"kvexpress/internal/hold"
	"kvexpress/internal/kv"
	"kvexpress/internal/outcome"
	"kvexpress/internal/rollout"
)

// form is the form of an action as a browser fills it in.
func (w *world) form(path, reason string) url.Values {
	w.t.Helper()
	code, body := w.get(path, all)
	if code != http.StatusOK {
		w.t.Fatalf("%s: %d %s", path, code, body)
	}
	v := url.Values{"reason": {reason}}
	for _, m := range regexp.MustCompile(`type="hidden" name="([a-z]+)" value="([^"]*)"`).FindAllStringSubmatch(body, -1) {
		v.Set(m[1], m[2])
	}
	return v
}

// act sends the form of an action, and returns the status and the page.
func (w *world) act(key string, form url.Values, token string) (int, string) {
	w.t.Helper()
	resp := w.post("/act/"+key, form, func(r *http.Request) { r.Header.Set("X-Consul-Token", token) })
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// events are what the store keeps of a key.
func (w *world) events(key kv.Key) []hold.Event {
	w.t.Helper()
	all, err := hold.Recorder{Store: w.store, Layout: w.layout}.Read(w.t.Context(), key)
	if err != nil {
		w.t.Fatal(err)
	}
	return all[key]
}

// A key is stopped and resumed on the page, with who did it and why.
func TestStopAndResume(t *testing.T) {
	w := start(t)
	w.publish("hosts", "1\n", "")
	w.reports("web-1", file("hosts", outcome.Converged))
	w.shows("/key/hosts", "1 of 1", "/act/hosts?do=stop")
	_, body := w.get("/act/hosts?do=stop", all)
	for _, want := range []string{"1 node, 0 locked", "kvexpress stop -k hosts -r WHY", "Reason"} {
		if !strings.Contains(body, want) {
			t.Errorf("the form lacks %q:\n%s", want, body)
		}
	}
	stop := w.form("/act/hosts?do=stop", "")
	if code, body := w.act("hosts", stop, all); code != http.StatusConflict || !strings.Contains(body, "reason") {
		t.Errorf("without a reason: %d %s", code, body)
	}
	stop.Set("reason", "it is on fire")
	if code, body := w.act("hosts", stop, all); code != http.StatusSeeOther {
		t.Fatalf("%d %s", code, body)
	}
	if _, body := w.get("/key/hosts", all); !strings.Contains(body, "it is on fire") { // at once
		t.Errorf("the page does not show the stop:\n%s", body)
	}
	stop.Set("reason", "another one")
	if code, body := w.act("hosts", stop, all); code != http.StatusConflict || !strings.Contains(body, "already stopped") {
		t.Errorf("a second stop: %d %s", code, body)
	}
	resume := w.form("/act/hosts?do=resume", "it is out")
	resume.Set("was", "of another stop")
	if code, body := w.act("hosts", resume, all); code != http.StatusConflict || !strings.Contains(body, "changed") {
		t.Errorf("another stop: %d %s", code, body)
	}
	if code, body := w.act("hosts", w.form("/act/hosts?do=resume", "it is out"), all); code != http.StatusSeeOther {
		t.Fatalf("%d %s", code, body)
	}
	events := w.events("hosts")
	if len(events) != 2 || events[0].Action != hold.ActionResume || events[0].Reason != "it is out" ||
		events[1].Action != hold.ActionStop || !strings.HasPrefix(events[1].Who, "page@hub-1 from ") {
		t.Errorf("%+v", events)
	}
	if code, _ := w.get("/act/hosts?do=resume", all); code != http.StatusConflict {
		t.Errorf("a key that is not stopped: %d", code)
	}
}

// The caller's token decides, and not the hub's; without the right to act, there is no form and nothing is written.
func TestWhoMayAct(t *testing.T) {
	w := start(t)
	w.publish("hosts", "1\n", "")
	w.publish("secret/a", "1\n", "")
	w.shows("/key/hosts", "do=stop")
	w.shows("/key/secret/a", "do=stop")
	stop := w.form("/act/hosts?do=stop", "a reason")
	for _, token := range []string{"", nothing, readOnly} {
		if code, body := w.act("hosts", stop, token); code != http.StatusForbidden {
			t.Errorf("%q: %d %s", token, code, body)
		}
	}
	if _, body := w.act("hosts", stop, readOnly); !strings.Contains(body, "kvexpress acl operator -k hosts") || strings.Contains(body, readOnly) {
		t.Errorf("the denial: %s", body)
	}
	if code, _ := w.act("secret/a", stop, noSecret); code != http.StatusForbidden {
		t.Errorf("a key that the token may not read: %d", code)
	}
	w.mayAct = "not from here"
	if code, body := w.act("hosts", stop, all); code != http.StatusForbidden || !strings.Contains(body, "not from here") {
		t.Errorf("%d %s", code, body)
	}
	if code, _ := w.get("/act/hosts?do=stop", all); code != http.StatusForbidden {
		t.Errorf("the form: %d", code)
	}
	if _, body := w.get("/key/hosts", all); strings.Contains(body, "/act/") {
		t.Errorf("the page has actions:\n%s", body)
	}
	w.mayAct = ""
	if resp := w.post("/act/hosts", stop, func(r *http.Request) {
		r.Header.Set("X-Consul-Token", all)
		r.Header.Set("Sec-Fetch-Site", "cross-site")
	}); resp.StatusCode != http.StatusForbidden {
		t.Errorf("from another site: %d", resp.StatusCode)
	}
	if events := w.events("hosts"); len(events) > 0 {
		t.Errorf("%+v", events)
	}
}

// A rollback publishes a kept version again, unless another version became live since the form was opened.
func TestRollback(t *testing.T) {
	w := start(t)
	w.publish("hosts", "1\n", "")
	w.publish("hosts", "2\n", "")
	w.shows("/history/hosts", "do=rollback&amp;to=1")
	back := w.form("/act/hosts?do=rollback&to=1", "2 is wrong")
	w.publish("hosts", "3\n", "")
	if code, body := w.act("hosts", back, all); code != http.StatusConflict || !strings.Contains(body, "version 3 is live") {
		t.Errorf("a version that is not live any more: %d %s", code, body)
	}
	w.shows("/fleet", ">3<")
	back = w.form("/act/hosts?do=rollback&to=1", "2 is wrong")
	if code, body := w.act("hosts", back, all); code != http.StatusSeeOther {
		t.Fatalf("%d %s", code, body)
	}
	rows, err := w.store.Read(t.Context(), kv.Default, w.layout.Data("hosts"))
	if err != nil || string(rows[w.layout.Data("hosts")].Value) != "1\n" {
		t.Errorf("%v %v", rows, err)
	}
	if events := w.events("hosts"); len(events) != 1 || events[0].Action != hold.ActionRollback || !strings.Contains(events[0].Reason, "2 is wrong") {
		t.Errorf("%+v", events)
	}
	for _, to := range []string{"0", "4", "99", "x"} {
		if code, body := w.get("/act/hosts?do=rollback&to="+to, all); code != http.StatusNotFound {
			t.Errorf("version %s: %d %s", to, code, body)
		}
	}
	if code, _ := w.get("/act/hosts?do=dance", all); code != http.StatusConflict {
		t.Errorf("an action that there is not: %d", code)
	}
}

// The rollout that the caller saw is paused, continued, promoted and aborted; another one is left alone.
func TestActsOnRollout(t *testing.T) {
	w := start(t)
	w.publish("hosts", "1\n", "")
	row := rollout.Row{Format: 1, ID: "r1", Key: "hosts", Version: 2, SHA256: strings.Repeat("a", 64), State: rollout.Running,
		Plan: rollout.Plan{Stages: []rollout.Stage{{Count: 1}, {Count: 2, PauseBefore: true}}}}
	put := func(change func(*rollout.Row)) {
		change(&row)
		b, err := row.Marshal()
		if err == nil {
			err = w.store.Put(t.Context(), w.layout.Rollout("hosts"), b, 0)
		}
		if err != nil {
			t.Fatal(err)
		}
		now := row
		w.rollout = rollout.View{Row: &now}
	}
	put(func(*rollout.Row) {})
	now := func() rollout.Row {
		t.Helper()
		path := w.layout.Rollout("hosts")
		rows, err := w.store.Read(t.Context(), kv.Default, path)
		if err != nil {
			t.Fatal(err)
		}
		r, err := rollout.ParseRow("hosts", rows[path])
		if err != nil {
			t.Fatal(err)
		}
		return *r
	}
	w.shows("/key/hosts", "do=pause", "do=abort", "do=promote", "rollout pause -k hosts")
	for _, c := range []struct {
		do    string
		from  rollout.State
		after func(rollout.Row) bool
	}{
		{"pause", rollout.Running, func(r rollout.Row) bool { return r.State == rollout.Paused }},
		{"promote", rollout.Running, func(r rollout.Row) bool { return r.Go == 1 }},
		{"continue", rollout.Halted, func(r rollout.Row) bool { return r.State == rollout.Running }},
		{"abort", rollout.Running, func(r rollout.Row) bool { return r.State == rollout.Reverting && r.End == rollout.Aborted }},
	} {
		put(func(r *rollout.Row) { r.State, r.Go = c.from, 0 })
		form := w.form("/act/hosts?do="+c.do, "a reason")
		put(func(r *rollout.Row) { r.ID = "r2" })
		if code, body := w.act("hosts", form, all); code != http.StatusConflict || !strings.Contains(body, "changed") {
			t.Errorf("%s of another rollout: %d %s", c.do, code, body)
		}
		put(func(r *rollout.Row) { r.ID = "r1" })
		if code, body := w.act("hosts", form, all); code != http.StatusSeeOther || !c.after(now()) {
			t.Errorf("%s: %d %s %+v", c.do, code, body, now())
		}
	}
	if events := w.events("hosts"); len(events) != 4 || events[0].Action != hold.ActionAbort {
		t.Errorf("%+v", events)
	}
	w.publish("hosts", "2\n", "")
	w.shows("/fleet", ">3<")
	put(func(r *rollout.Row) { r.State, r.Version, r.Admitted = rollout.Paused, 4, 1 })
	if _, body := w.get("/act/hosts?do=stop", all); !strings.Contains(body, "The rollout of version 4 is frozen, too: 1 node may have it.") {
		t.Errorf("a stop does not tell about the rollout:\n%s", body)
	}
	if code, body := w.get("/act/hosts?do=rollback&to=1", all); code != http.StatusConflict || !strings.Contains(body, "version 4 is paused") {
		t.Errorf("a rollback beside a rollout: %d %s", code, body)
	}
	put(func(r *rollout.Row) { r.State = rollout.Promoted })
	if code, _ := w.get("/act/hosts?do=rollback&to=1", all); code != http.StatusOK {
		t.Errorf("a rollback after the rollout: %d", code)
	}
	if code, _ := w.get("/act/hosts?do=pause", all); code != http.StatusConflict {
		t.Errorf("a rollout that has ended: %d", code)
	}
}
