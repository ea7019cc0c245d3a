package docs

import (
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
)

// The ad hoc page, with only the rights that it names, under a Consul that denies all
// others. It leaves nothing in the store.
func TestAdHocWithACLs(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../../docs/ad-hoc.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := func(kind string) (found []string) {
		for _, b := range regexp.MustCompile("(?s)```"+kind+"\n(.*?)```").FindAllStringSubmatch(string(page), -1) {
			found = append(found, b[1])
		}
		return found
	}
	rules, commands := blocks("hcl"), blocks("sh")
	if len(rules) != 3 || len(commands) != 4 {
		t.Fatalf("the page has %d policies and %d commands", len(rules), len(commands))
	}
	r := newReader(t)
	keys := func() string {
		_, answer, err := r.server.Request(http.MethodGet, "/v1/kv/?keys", r.server.ManagementToken, nil)
		if err != nil {
			t.Fatal(err)
		}
		return string(answer)
	}
	before := keys()
	agents := `{"Token": "` + r.server.NewToken(t, rules[1]+`node_prefix "" { policy = "write" }`) + `"}`
	status, answer, err := r.server.Request(http.MethodPut, "/v1/agent/token/agent", r.server.ManagementToken, []byte(agents))
	if err != nil || status != http.StatusOK {
		t.Fatalf("%d %s, %v", status, answer, err)
	}
	r.m.File("etc/kvexpress/token", r.server.NewToken(t, rules[2]))
	r.m.Env = append(r.m.Env, "CONSUL_HTTP_TOKEN="+r.server.NewToken(t, rules[0]))
	r.onNode = "CONSUL_HTTP_ADDR=$CONSUL_HTTP_ADDR "
	for _, i := range []int{0, 2} {
		r.follow(commands[i])
	}
	if strings.Count(r.m.Read("etc/file.conf"), "\n") != 600 || !strings.Contains(keys(), "tmp/config/data") {
		t.Error("the file is not there")
	}
	if _, err := os.Stat(r.m.Path("etc/file.conf.loaded")); err != nil {
		t.Error(err)
	}
	r.follow(commands[3])
	if after := keys(); after != before {
		t.Errorf("left are %s, before there were %s", after, before)
	}
}
