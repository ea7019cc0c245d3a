//go:build linux

package hub

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/hub/rollouts"
	"kvexpress/internal/rollout"
	"kvexpress/internal/testutil/consultest"
	"kvexpress/test/e2e"
)

// With tokens that `kvexpress acl` prints: a hub without --rollouts says in time that it runs none. One with it does, with a gate
// of hub.yml and a webhook. What a command printed is shown to a caller that may read the key, and is not sent to the webhook.
func TestRolloutWithTokens(t *testing.T) {
	t.Parallel()
	notices := make(chan rollouts.Notice, 100)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var n rollouts.Notice
		if json.Unmarshal(body, &n) != nil || r.Header.Get("Authorization") != "Bearer secret-of-hook" ||
			strings.Contains(string(body), "printed") {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		notices <- n
	}))
	defer server.Close()
	x := &guarded{Site: start(t, consultest.WithACL())}
	x.File("hook.token", "secret-of-hook")
	x.File("weak.token", x.token("hub"))
	x.File("hub.token", x.token("hub", "--rollouts"))
	config := x.File("hub.yml", "token_file: "+x.Path("hub.token")+"\ngates: {words: {run: [sh, -c, '! grep -q worse']}}\n"+
		"notify: {url: '"+server.URL+"', token_file: "+x.Path("hook.token")+"}\n")
	plain := x.With("CONSUL_HTTP_TOKEN=")
	weak := plain.Hub("weak", "--token-file", x.Path("weak.token"))
	x.hub = plain.Hub("hub", "-C", config)
	publisher := x.token("publisher", "-k", "hosts")
	p := x.With("CONSUL_HTTP_TOKEN=" + publisher)
	p.Ok("in", "-k", "hosts", "-l", "1", "-f", x.File("v1", "good\n"))
	x.Ok("policy", "set", "-k", "hosts", "-f", x.File("policy.yml", "stages: [{count: 1}, {share: 100%}]\ngates: [words]\n"))
	for _, name := range []string{"web-1", "web-2"} {
		x.File(name+".token", x.token("node", "-k", "hosts", "--node", name))
		script := x.Script(name+"-exec", "! grep bad "+x.Path(name+"-hosts")+" || { echo printed; exit 1; }")
		x.ConfigWith(name, e2e.Fields{"hubs": []string{x.hub.Addr}, "token_file": x.Path(name + ".token")}, nil,
			e2e.Fields{"key": "hosts", "file": x.Path(name + "-hosts"), "min_lines": 1, "exec": []string{script}})
		plain.Agent(name).Delivers(name+"-hosts", "good\n")
	}
	ask := func(token, key string) (int, rollout.View) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+x.hub.Addr+rollout.ViewPath+"?key="+key, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Consul-Token", token)
		resp, err := (&http.Client{Timeout: 30 * time.Second}).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var v rollout.View
		_ = json.NewDecoder(resp.Body).Decode(&v)
		return resp.StatusCode, v
	}
	in := func(code int, hub *e2e.Hub, content string, words ...string) {
		t.Helper()
		r := p.Want(code, "in", "-k", "hosts", "-l", "1", "-f", x.File("next", content), "--hub", hub.Addr)
		for _, word := range words {
			if !strings.Contains(r.Stderr, word) {
				t.Errorf("in does not say %q: %s", word, r.Stderr)
			}
		}
	}
	in(0, x.hub, "better\n")
	for _, name := range []string{"web-1", "web-2"} {
		e2e.Eventually(t, name+" has it", func() bool { return x.Read(name+"-hosts") == "better\n" })
	}
	in(11, x.hub, "a bad line\n", "exec")
	if _, v := ask(publisher, "hosts"); len(v.Failed) != 1 || !strings.Contains(v.Failed[0].Output, "printed") {
		t.Errorf("the view has %+v", v.Failed)
	}
	in(11, x.hub, "worse\n", "words")
	if r := p.Run("in", "-k", "hosts", "-l", "1", "-f", x.File("next", "other\n"), "--hub", weak.Addr); r.Code == 0 ||
		!strings.Contains(r.Stderr, "acl hub --rollouts") {
		t.Errorf("through the weak hub: %d, %s", r.Code, r.Stderr)
	}
	var got []rollout.State
	for len(got) < 7 {
		select {
		case n := <-notices:
			got = append(got, n.State)
			if n.Key != "hosts" || n.Hub == "" {
				t.Errorf("a notice is %+v", n)
			}
		case <-time.After(time.Minute):
			t.Fatalf("the webhook got only %q", got)
		}
	}
	if got[1] != rollout.Promoted || !slices.Contains(got, rollout.Reverted) {
		t.Errorf("the webhook got %q", got)
	}

	if code, v := ask(publisher, "hosts"); code != http.StatusOK || v.Row == nil || v.Row.State != rollout.Reverted {
		t.Errorf("the publisher gets %d, %+v", code, v)
	}
	for token, key := range map[string]string{"": "hosts", x.token("node", "-k", "other", "--node", "web-3"): "hosts", publisher: "../x"} {
		if code, v := ask(token, key); code < 400 || v.Row != nil {
			t.Errorf("%q gets %d, %+v", key, code, v)
		}
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+x.hub.Addr+rollouts.PeerPath, strings.NewReader(`{"key":"hosts"}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Consul-Token", x.token("hub"))
	resp, err := (&http.Client{Timeout: 30 * time.Second}).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if resp.Body.Close(); resp.StatusCode != http.StatusForbidden {
		t.Errorf("a hub that runs no rollouts is answered as a controller: %d", resp.StatusCode)
	}
}
