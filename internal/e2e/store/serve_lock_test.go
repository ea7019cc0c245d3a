//go:build linux

package store

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/e2e"
)

// `consul lock` on a store: holders that run until a test lets go of them.
type locks struct {
	t   *testing.T
	m   *e2e.Machine
	log string // of those that held it
}

// hold runs a holder of a name: it notes its begin and its end, and ends when there is a
// file NAME.go. One whose lock was lost may outlive consul lock, which ends only the shell
// around it: it ends with the folder of the test.
func (l *locks) hold(name, flags string) *job {
	l.t.Helper()
	return startJob(l.m, name, fmt.Sprintf("exec consul lock -name=%s %s app/lock %s", name, flags,
		l.m.Script(name, fmt.Sprintf("echo %[1]s begins >>%[2]s\nwhile [ -e %[2]s ]; do if [ -e %[3]s.go ]; then echo %[1]s ends >>%[2]s; exit; fi; sleep 0.05; done\n",
			name, l.log, l.m.Path(name)))))
}

func (l *locks) letGo(name string) { l.m.File(name+".go", "") }

// history is who began and ended, in order.
func (l *locks) history() []string {
	return strings.FieldsFunc(l.m.Read("locks.log"), func(r rune) bool { return r == '\n' })
}

func (l *locks) happens(line string) {
	l.t.Helper()
	e2e.Eventually(l.t, line, func() bool { return slices.Contains(l.history(), line) })
}

func (l *locks) happened(want ...string) {
	l.t.Helper()
	if got := l.history(); !slices.Equal(got, want) {
		l.t.Errorf("the holders: %q, want %q", got, want)
	}
}

// session is the session of a holder, "" for one that has none.
func (l *locks) session(name string) string {
	l.t.Helper()
	var sessions []struct{ ID, Name string }
	l.ask(http.MethodGet, "/v1/session/list", "", &sessions)
	for _, s := range sessions {
		if s.Name == name {
			return s.ID
		}
	}
	return ""
}

func (l *locks) ask(method, path, body string, answer any) {
	l.t.Helper()
	req, err := http.NewRequestWithContext(l.t.Context(), method, "http://"+consulAddr(l.m)+path, strings.NewReader(body))
	if err != nil {
		l.t.Fatal(err)
	}
	resp, err := (&http.Client{Timeout: time.Minute}).Do(req)
	if err != nil {
		l.t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(answer); err != nil || resp.StatusCode != http.StatusOK {
		l.t.Fatalf("%s %s: %s, %v", method, path, resp.Status, err)
	}
}

// create makes a session, and returns its id.
func (l *locks) create(body string) string {
	l.t.Helper()
	var made struct{ ID string }
	l.ask(http.MethodPut, "/v1/session/create", body, &made)
	return made.ID
}

func (l *locks) destroy(session string) {
	l.t.Helper()
	var done bool
	if l.ask(http.MethodPut, "/v1/session/destroy/"+session, "", &done); !done {
		l.t.Errorf("the session %s is not destroyed", session)
	}
}

// onLocks runs a test of `consul lock` on Consul and on serve.
func onLocks(t *testing.T, test func(l *locks)) {
	t.Helper()
	onBoth(t, func(t *testing.T, m *e2e.Machine) {
		m = withConsul(m)
		test(&locks{t: t, m: m, log: m.Path("locks.log")})
	})
}

// What holders ask each other to heed, the store itself holds them to.
func TestConsulKVLocks(t *testing.T) {
	onLocks(t, func(l *locks) {
		a, b := l.create(`{"LockDelay": "0s"}`), l.create(`{"LockDelay": "60s", "Behavior": "delete"}`)
		c := l.create("")
		says := func(want, line string) {
			l.t.Helper()
			said, _ := shell(l.m, "consul kv "+line)
			if said = strings.NewReplacer(a, "A", b, "B", c, "C").Replace(said); !strings.Contains(said, want) {
				l.t.Errorf("consul kv %s:\n%swant %q", line, said, want)
			}
		}
		held := func(session string, index int) {
			l.t.Helper()
			says(fmt.Sprintf("\nSession          %s\n", session), "get -detailed app/lock")
			says(fmt.Sprintf("\nLockIndex        %d\n", index), "get -detailed app/lock")
		}
		const ok, taken = "Success!", "Error! Did not acquire lock"
		says(ok, "put -acquire -session="+a+" app/lock one")
		held("A", 1)
		says(taken, "put -acquire -session="+b+" app/lock two")
		says(ok, "put -acquire -session="+a+" app/lock three")
		held("A", 1)
		says(ok, "put -release -session="+a+" app/lock three")
		says(ok, "put -acquire -session="+a+" app/lock three")
		held("A", 2)
		says("Error! Did not release lock", "put -release -session="+b+" app/lock four")
		says(ok, "put app/lock five") // a plain write heeds no lock, and only makes it count anew
		held("A", 0)
		says(ok, "put -release -session="+a+" app/lock six")
		held("-", 0)
		says(ok, "put -acquire -session="+a+" app/lock seven")
		held("A", 1)
		l.destroy(a)
		held("-", 1)
		says(ok, "put -acquire -session="+b+" app/lock eight") // it had no delay
		held("B", 2)
		l.destroy(b)
		says("Error! No key exists at: app/lock", "get app/lock")
		says(taken, "put -acquire -session="+c+" app/lock nine") // for a minute
		says(ok, "put -acquire -session="+c+" app/other nine")
		says(ok, "put app/lock ten")
	})
}

// A second holder waits for the first, and one that waits only so long gives up.
func TestConsulLock(t *testing.T) {
	onLocks(t, func(l *locks) {
		first := l.hold("first", "")
		l.happens("first begins")
		second := l.hold("second", "")
		e2e.Eventually(l.t, "the second has a session", func() bool { return l.session("second") != "" })
		for range 2 { // a second or two, in which the one that waits could begin
			if said, code := shell(l.m, "consul lock -try=1s app/lock 'echo third begins >>"+l.log+"'"); code != 1 {
				l.t.Errorf("a third, that tries for a second: exit %d: %s", code, said)
			}
		}
		l.happened("first begins")
		l.letGo("first")
		first.ends(0)
		l.happens("second begins")
		l.letGo("second")
		second.ends(0)
		l.happened("first begins", "first ends", "second begins", "second ends")
		if rows := consul(l.m, "kv get -recurse -keys app/"); rows != "" {
			l.t.Errorf("the last one leaves %s", rows)
		}
		if said, code := shell(l.m, "consul lock -child-exit-code app/lock 'exit 3'"); code != 2 {
			l.t.Errorf("a child that fails: exit %d, want 2: %s", code, said)
		}
	})
}

// A semaphore lets two in, and a third when one of them has gone.
func TestConsulSemaphore(t *testing.T) {
	onLocks(t, func(l *locks) {
		first, second := l.hold("first", "-n=2"), l.hold("second", "-n=2")
		l.happens("first begins")
		l.happens("second begins")
		third := l.hold("third", "-n=2")
		e2e.Eventually(l.t, "the third has a session", func() bool { return l.session("third") != "" })
		if said, code := shell(l.m, "consul lock -n=2 -try=1s app/lock 'echo fourth begins >>"+l.log+"'"); code != 1 {
			l.t.Errorf("a fourth, that tries for a second: exit %d: %s", code, said)
		}
		if said, code := shell(l.m, "consul lock -n=3 app/lock true"); code != 1 || !strings.Contains(said, "conflict") {
			l.t.Errorf("another limit: exit %d: %s", code, said)
		}
		if n := len(l.history()); n != 2 {
			l.t.Errorf("the holders: %q, want the first two", l.history())
		}
		l.letGo("second")
		second.ends(0)
		l.happens("third begins")
		l.letGo("first")
		l.letGo("third")
		first.ends(0)
		third.ends(0)
		if n := len(l.history()); n != 6 {
			l.t.Errorf("the holders: %q, want three that begin and end", l.history())
		}
	})
}

// What becomes of a lock whose holder has lost it, or, in the soak, was killed: that takes a minute.
func TestConsulLockLost(t *testing.T) {
	if os.Getenv("KVEXPRESS_SOAK") == "1" {
		t.Run("killed", func(t *testing.T) { onLocks(t, lockOfTheDead) })
	}
	onLocks(t, func(l *locks) {
		first := l.hold("first", "-verbose")
		l.happens("first begins")
		l.destroy(l.session("first"))
		first.ends(0)
		if !strings.Contains(l.m.Read(first.log), "Lock lost, killing child") {
			l.t.Error("it does not say that its lock is lost")
		}
		l.happened("first begins")
	})
}

// The lock of a holder that is killed is free when its session has expired, after 15 to
// 30 seconds, and the delay of the lock is over, after 15 more.
func lockOfTheDead(l *locks) {
	first := l.hold("first", "")
	l.happens("first begins")
	session := l.session("first")
	first.kill()
	died := time.Now()
	second := l.hold("second", "")
	e2e.Within(l.t, 2*time.Minute, "the second holds the lock", func() bool { return slices.Contains(l.history(), "second begins") })
	took := time.Since(died)
	// It was renewed at most half a TTL ago, and Consul gives it two of them.
	if took < 35*time.Second {
		l.t.Errorf("it was free after %v: the session's TTL and the lock's delay were not both waited for", took)
	}
	l.t.Logf("the second had it %v after the first was killed", took.Round(time.Second))
	if now := l.session("first"); now == session {
		l.t.Errorf("the session %s of the dead lives on", now)
	}
	l.letGo("second")
	second.ends(0)
}

// consulAddr is the store that the machine talks to.
func consulAddr(m *e2e.Machine) string {
	for _, pair := range slices.Backward(m.Env) {
		if addr, ok := strings.CutPrefix(pair, "CONSUL_HTTP_ADDR="); ok {
			return addr
		}
	}
	return ""
}
