package store

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"

	"kvexpress/internal/hold"
	"kvexpress/internal/kv"
	"kvexpress/test/e2e"
)

// right is a rule of a policy that is about events.
var right = regexp.MustCompile(`key "kvexpress-events/[^}]*}`)

// eventPolicies: with the policies that `kvexpress acl` prints, each action leaves an event that names who did it.
// Without the right to it, the action still succeeds, and one line names the missing right.
func eventPolicies(t *testing.T, g *guarded) {
	operator := g.admin.Ok("acl", "operator", "-k", "hosts")
	publisher := g.admin.Ok("acl", "publisher", "-k", "hosts")
	for name, c := range map[string]struct {
		rules string
		left  bool
		args  [][]string
	}{
		"operator":       {operator, true, operatorActs},
		"publisher":      {publisher, true, publisherActs},
		"both, retiring": {operator + publisher, true, [][]string{{"retire", "-k", "hosts", "--yes", "--force"}}},
		"both without, retiring": {right.ReplaceAllString(operator+publisher, ""), false,
			[][]string{{"retire", "-k", "hosts", "--yes", "--force"}}},
		"operator without": {right.ReplaceAllString(operator, ""), false, operatorActs},
		"publisher without, with read": {right.ReplaceAllString(publisher, "") +
			`key "kvexpress-events/hosts" { policy = "read" }`, false, publisherActs},
	} {
		m := g.holding(t, g.newToken(t, c.rules))
		for _, text := range []string{"one", "two"} {
			g.admin.Ok("in", "-k", "hosts", "-f", g.admin.File("source", e2e.Text(text+name, 20)))
		}
		g.Put("kvexpress-nodes/web-17", "{}", 0)
		for _, args := range c.args {
			row := map[bool]kv.Key{true: hold.NodeEvents, false: "hosts"}[slices.Contains(args, "web-17")]
			before := g.eventRow(row)
			r := m.Want(0, args...)
			after := g.eventRow(row)
			all, damaged := hold.ParseEvents([]byte(after))
			warned := strings.Contains(r.Stderr, "no event") && strings.Contains(r.Stderr, "`kvexpress acl ") &&
				strings.Count(r.Stderr, "\n") == 1
			switch {
			case !c.left && (!warned || after != before):
				t.Errorf("%s: %v: %+v, and the events are %s", name, args, r, after)
			case c.left && (r.Stderr != "" || damaged > 0 || len(all) == 0 || all[0].Action != args[0] ||
				!strings.HasSuffix(all[0].Who, "@"+e2e.Hostname(t)) || (all[0].Accessor != "") != g.accessors ||
				strings.Contains(after, tokenOf(m))):
				t.Errorf("%s: %v: %+v, and the events are %s", name, args, r, after)
			}
		}
		if !c.left {
			continue
		}
		var told struct{ Events []hold.Event }
		if err := json.Unmarshal([]byte(m.Ok("history", "-k", "hosts", "--events", "--json")), &told); err != nil ||
			len(told.Events) == 0 {
			t.Errorf("%s sees %+v, %v", name, told, err)
		}
	}
	for name, m := range map[string]*e2e.Machine{"a node": g.as(t, "node", "-k", "hosts"), "no token": e2e.NewMachine(t, g.Server.Addr)} {
		t.Log(name)
		m.Fails(7, []string{"permission denied", "`kvexpress acl operator -k hosts`"}, "history", "-k", "hosts", "--events")
	}
	g.admin.Ok("stop", "-k", "hosts", "-r", "why")
	if got := g.as(t, "hub").Ok("stops"); !strings.Contains(got, "@"+e2e.Hostname(t)) {
		t.Errorf("a hub's token does not see who: %s", got)
	}
}

func (g *guarded) eventRow(of kv.Key) string {
	if row := g.Get("kvexpress-events/" + string(of)); row != nil {
		return string(row.Value)
	}
	return ""
}

var (
	operatorActs = [][]string{{"stop", "-k", "hosts", "-r", "why"}, {"resume", "-k", "hosts"},
		{"lock", "-f", "/etc/motd", "--node", "web-17", "--force", "-r", "why"}, {"unlock", "-f", "/etc/motd", "--node", "web-17"},
		{"forget", "web-17"}}
	publisherActs = [][]string{{"stop", "-k", "hosts", "-r", "why"}, {"resume", "-k", "hosts"}, {"rollback", "-k", "hosts"}}
)
