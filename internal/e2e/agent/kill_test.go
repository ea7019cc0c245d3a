//go:build linux

package agent

import (
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"kvexpress/internal/e2e"
)

// The released program is killed in the middle of an exec, which is killed with it as
// in a power loss, and at any moment. The next one finds out what is left to do.
func TestAgentKilled(t *testing.T) {
	t.Parallel()
	_, m := e2e.Start(t)
	if err := os.Mkdir(m.Path("etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	m.Script("exec", `echo $$ >`+m.Path("pid")+`.new && mv `+m.Path("pid")+`.new `+m.Path("pid")+`
sleep $(cat `+m.Path("slow")+`)
sha256sum <etc/hosts | cut -d ' ' -f 1 >>execs
`)
	m.Configure("agent", nil, e2e.Fields{"key": "hosts", "file": m.Path("etc/hosts"), "exec": m.Path("exec")})
	m.File("slow", "0")
	before := m.Publish(e2e.Noise(20_000, 0))
	d := m.Agent("agent")
	d.Delivers("etc/hosts", before)
	d.EndsWell()
	tidy := names(t, m.Path("etc")) + names(t, m.Path("agent.state")) + names(t, m.Path("agent.state/targets"))

	for i := range uint64(e2e.Times(20)) {
		for _, inExec := range []bool{true, false} {
			m.File("slow", map[bool]string{true: "600", false: "0"}[inExec])
			if err := os.RemoveAll(m.Path("pid")); err != nil {
				t.Fatal(err)
			}
			d := m.Agent("agent")
			content := m.Publish(e2e.Noise(20_000, 2*i+uint64(len(m.Read("slow")))+1000))
			if inExec {
				e2e.Eventually(t, "the exec runs", func() bool { return m.Read("pid") != "" })
			} else {
				<-time.After(rand.N(30 * time.Millisecond))
			}
			d.Kill()
			if pid, err := strconv.Atoi(strings.TrimSpace(m.Read("pid"))); err == nil {
				_ = syscall.Kill(-pid, syscall.SIGKILL) // it may have ended
			}
			if now := m.Read("etc/hosts"); now != content && (now != before || inExec) {
				t.Fatalf("torn: %s", e2e.Brief(now))
			}
			if inExec && strings.Contains(m.Read("execs"), e2e.Sum(content)) {
				t.Fatal("the exec had come to its end: this test sees nothing")
			}

			m.File("slow", "0")
			d = m.Agent("agent")
			d.Delivers("etc/hosts", content)
			e2e.Eventually(t, "the exec is owed no more", func() bool { return !d.Target("etc/hosts").Exec.Owed })
			if !strings.HasSuffix(m.Read("execs"), e2e.Sum(content)+"\n") {
				t.Error("the exec did not run for what is in place")
			}
			d.EndsWell()
			if now := names(t, m.Path("etc")) + names(t, m.Path("agent.state")) + names(t, m.Path("agent.state/targets")); now != tidy {
				t.Errorf("left behind: %s, where there was %s", now, tidy)
			}
			before = content
		}
	}
}
