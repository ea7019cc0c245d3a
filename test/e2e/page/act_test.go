//go:build linux

package page

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"kvexpress/internal/testutil/consultest"
	"kvexpress/test/e2e"
)

// follow clicks on a link with this text.
func (b *tab) follow(text string) {
	b.t.Helper()
	link := fmt.Sprintf("[...document.querySelectorAll('a')].find(a => a.innerText.includes(%q))", text)
	b.becomes(link)
	b.do(chromedp.Evaluate[chromedp.Void](link + ".click()"))
}

// submit types a reason into the form, which has the focus, and sends it with the key Enter. It returns the command that the form
// shows.
func (b *tab) submit(reason string) []string {
	b.t.Helper()
	b.becomes("location.pathname === '/act/hosts' && document.activeElement.id === 'reason'")
	b.named()
	command := js[string](b, "document.querySelector('main > p code').innerText")
	b.do(chromedp.SendKeys(chromedp.CSS("#reason"), reason+"\r"))
	return strings.Fields(command)[1:]
}

// typed is the command that a form shows, as a person types it.
func typed(command []string, reason string) []string {
	for i, word := range command {
		if word == "WHY" {
			command[i] = reason
		}
	}
	return command
}

// People stop, resume and roll back on the page, and the command that a form shows does the same.
func TestActions(t *testing.T) {
	for name, size := range map[string][2]int64{"desk": desk, "phone": phone} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startFleet(t, 3)
			s.publish(11, "--wait", "100%")
			b := open(t, size)
			b.open(s.url + "/key/hosts")
			b.becomes(said + "('3 of 3 nodes')")
			b.follow("Stop the key")
			b.becomes(said + "('3 nodes, 0 locked')")
			b.shot(name + "-stop")
			stop := b.submit("a DNS problem")
			b.becomes("location.pathname === '/key/hosts' && document.querySelector('[role=alert]')?.innerText.includes('a DNS problem')")
			s.Fails(3, []string{"a DNS problem"}, "in", "-k", "hosts", "-f", s.File("next", e2e.Text("next", 12)), "-l", "1")
			b.follow("Resume")
			b.submit("it was another one")
			b.becomes("location.pathname === '/key/hosts' && document.querySelector('[role=alert]') === null")
			s.Ok(typed(stop, "typed")...)
			b.becomes(said + "('typed')")
			b.follow("Resume")
			s.Ok("resume", "-k", "hosts")
			b.submit("too late")
			b.becomes(said + "('it changed since this form was opened')")
			b.open(s.url + "/history/hosts")
			b.follow("Roll back to it")
			b.becomes(said + "('The content of version 1') && " + said + "('3 nodes, 0 locked')")
			if wide := js[int](b, "document.documentElement.scrollWidth"); int64(wide) > size[0] {
				t.Errorf("the form is %d wide, the window %d", wide, size[0])
			}
			b.shot(name + "-rollback")
			b.submit("version 2 has a wrong address")
			b.becomes("location.pathname === '/key/hosts' && " + said + "('version 3') && " + said + "('3 of 3 nodes')")
			for i := range 3 {
				s.Holds(fmt.Sprintf("web-%d-hosts", i), e2e.Text("host", 10))
			}
			var past struct {
				Events []struct{ Who, Action, Reason string }
			}
			if err := json.Unmarshal([]byte(s.Ok("history", "-k", "hosts", "--events", "--json")), &past); err != nil {
				t.Fatal(err)
			}
			if e := past.Events; len(e) != 5 || e[0].Action != "rollback" || !strings.HasPrefix(e[0].Who, "page@") ||
				!strings.Contains(e[0].Reason, "a wrong address") || e[3].Reason != "it was another one" {
				t.Errorf("%+v", e)
			}
		})
	}
}

// People promote, pause, resume and abort a rollout on the page.
func TestActionsOnRollout(t *testing.T) {
	s := startFleet(t, 3)
	s.Ok("policy", "set", "-k", "hosts", "-f", s.File("policy.yml", "stages: [{count: 1}, {count: 2, pause: before, bake: 5m}, {share: 100%}]\n"))
	b := open(t, desk)
	b.open(s.url + "/key/hosts")
	b.becomes(said + "('3 of 3 nodes')")
	s.publish(12, "--hub", s.hub.Addr, "--detach")
	b.becomes(said + "('Rollout of version 2: paused')")
	b.follow("Promote")
	b.becomes(said + "('1 of 3 nodes may have version 2')")
	b.shot("promote")
	b.submit("the first node is fine")
	b.becomes("location.pathname === '/key/hosts' && " + said + "('Rollout of version 2: running')")
	b.follow("Pause")
	b.submit("lunch")
	b.becomes(said + "('Rollout of version 2: paused') && " + said + "('lunch')")
	b.follow("Resume")
	b.submit("back")
	b.becomes(said + "('Rollout of version 2: running')")
	b.follow("Abort")
	b.submit("no, it is wrong")
	b.becomes(said + "('Rollout of version 2: aborted') && " + said + "('no, it is wrong')")
	b.shot("aborted")
	for i := range 3 {
		e2e.Eventually(t, "the live version is back", func() bool { return s.Read(fmt.Sprintf("web-%d-hosts", i)) == e2e.Text("host", 10) })
	}
}

// The command of the form promotes, too; then the form is of another state, and does nothing.
func TestPromotesAsTyped(t *testing.T) {
	s := startFleet(t, 2)
	s.Ok("policy", "set", "-k", "hosts", "-f", s.File("policy.yml", "stages: [{count: 1}, {share: 100%, pause: before}]\n"))
	b := open(t, phone)
	b.open(s.url + "/key/hosts")
	s.publish(12, "--hub", s.hub.Addr, "--detach")
	b.becomes(said + "('Rollout of version 2: paused')")
	b.follow("Stop the key")
	b.becomes(said + "('The rollout of version 2 is frozen, too: 1 node may have it')")
	b.open(s.url + "/key/hosts")
	b.follow("Promote")
	b.becomes("location.pathname === '/act/hosts'")
	s.Ok(typed(strings.Fields(js[string](b, "document.querySelector('main > p code').innerText"))[1:], "typed")...)
	for i := range 2 {
		e2e.Eventually(t, "all have the new version", func() bool { return s.Read(fmt.Sprintf("web-%d-hosts", i)) == e2e.Text("host", 12) })
	}
	b.submit("clicked too late")
	b.becomes(said + "('it changed since this form was opened')")
	if events := s.Ok("history", "-k", "hosts", "--events", "--json"); !strings.Contains(events, `"typed"`) || strings.Contains(events, "clicked") {
		t.Error(events)
	}
}

// With ACLs, the page only reads until a token is given, and then the caller's token decides, not the hub's.
func TestActionsWithTokens(t *testing.T) {
	c := consultest.Start(t, consultest.WithACL())
	m := e2e.NewMachine(t, c.Addr, "CONSUL_HTTP_TOKEN="+c.ManagementToken)
	token := func(role ...string) string { return c.NewToken(t, m.Ok(append([]string{"acl"}, role...)...)) }
	m.File("hub.token", token("hub", "--rollouts"))
	hub := m.With("CONSUL_HTTP_TOKEN=").Hub("hub", "--token-file", m.Path("hub.token"))
	m.Publish("one\n")
	operator, reader := token("operator", "-k", "hosts"), c.NewToken(t, `key_prefix "" { policy = "read" }`)
	b := open(t, desk)
	url := "http://" + hub.Addr
	give := func(secret, shows string) {
		t.Helper()
		b.open(url + "/login?at=/key/hosts")
		b.do(chromedp.SendKeys(chromedp.CSS("#token"), secret+"\r"))
		b.becomes("location.pathname === '/key/hosts' && " + said + "('" + shows + "')")
	}
	b.open(url + "/key/hosts")
	b.becomes("document.querySelector('#token') !== null")
	give(reader, "version 1")
	b.follow("Stop the key")
	b.submit("may I?")
	b.becomes(said + "('kvexpress acl operator -k hosts')")
	b.shot("denied")
	m.Publish("two\n")
	give(operator, "version 2")
	b.follow("Stop the key")
	b.submit("I may")
	b.becomes("location.pathname === '/key/hosts' && document.querySelector('[role=alert]')?.innerText.includes('I may')")
	var past struct {
		Events []struct{ Accessor, Action string }
	}
	if err := json.Unmarshal([]byte(m.Ok("history", "-k", "hosts", "--events", "--json")), &past); err != nil || len(past.Events) != 1 ||
		len(past.Events[0].Accessor) != 36 {
		t.Errorf("%+v %v", past, err)
	}
	if log := hub.Said(); !strings.Contains(log, "an action of the page") || strings.Contains(log, operator) {
		t.Errorf("the log of the hub:\n%s", log)
	}

	// The browser of an operator looks at a page of another site.
	evil := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, `<form method="post" action="%s/act/hosts"><input name="do" value="resume"><input name="reason" value="x"><button>Win</button></form>`, url)
	}))
	defer evil.Close()
	b.open(evil.URL)
	b.do(chromedp.Click(chromedp.CSS("button")))
	b.becomes(said + "('cross-origin')")
	m.Fails(3, []string{"I may"}, "in", "-k", "hosts", "-l", "1", "-f", m.File("next", "three\n"))
}
