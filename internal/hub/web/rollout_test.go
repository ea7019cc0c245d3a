package web_test

import (
	"strings"
	"testing"

	"kvexpress/internal/rollout"
)

// The key's page shows the stages of its rollout, what they wait for, and who failed; for callers that may read the key.
func TestRollout(t *testing.T) {
	w := start(t)
	w.publish("secret", "1\n", "")
	if body := w.shows("/key/secret", "version <b>1</b>"); strings.Contains(body, "Rollout") {
		t.Errorf("a key without a rollout: %s", body)
	}
	w.rollout = rollout.View{
		Row: &rollout.Row{Version: 2, State: rollout.Halted, Reason: "2 <b>nodes</b> failed", By: "ops@desk", Started: 1},
		Stages: []rollout.StageView{{Name: "role=canary", Nodes: 3, Admitted: 3, Healthy: 3, Done: true},
			{Name: "10%", Nodes: 12, Admitted: 5, Healthy: 2, Failed: 2, Waits: "3 more healthy nodes"}, {Name: "100%"}},
		Failed: []rollout.FailedNode{{Node: "web-7", Reason: "probe", Detail: "exit 3", Output: "<script>hit()</script>"}},
		Left:   []rollout.LeftOut{{Node: "web-8", Why: "it is locked"}},
	}
	body := w.shows("/key/secret", "Rollout of version 2", "halted", "2 &lt;b&gt;nodes&lt;/b&gt; failed", "role=canary", "3 more healthy nodes",
		`href="/node/web-7"`, "&lt;script&gt;hit()", "web-8", "it is locked", "kvexpress rollout abort -k secret")
	if strings.Contains(body, "<script>hit") {
		t.Errorf("the output is no text: %s", body)
	}
	row := rollout.Row{ID: "1", Key: "secret", Version: 2, SHA256: strings.Repeat("a", 64), State: rollout.Paused, Stage: 1,
		Plan: rollout.Plan{Stages: []rollout.Stage{{Count: 1}, {Count: 2}, {Count: 3}}}}
	value, err := row.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.store.Put(t.Context(), w.layout.Rollout("secret"), value, 0); err != nil {
		t.Fatal(err)
	}
	w.shows("/fleet", "version 2 is paused, stage 2 of 3", `href="/fleet?state=rollout"`)
	if _, body := w.get("/fleet", noSecret); strings.Contains(body, "paused") {
		t.Errorf("the fleet with a token that may not read the key: %s", body)
	}
	if _, body := w.get("/key/secret", noSecret); strings.Contains(body, "web-7") || strings.Contains(body, "more healthy") {
		t.Errorf("with a token that may not read the key: %s", body)
	}
}
