//go:build linux

package e2e

import (
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The released program is killed in the middle of an exec, which is killed with it as
// in a power loss, and at any moment. The next one finds out what is left to do.
func TestAgentKilled(t *testing.T) {
	t.Parallel()
	_, m := start(t)
	if err := os.Mkdir(m.path("etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	m.script("exec", `echo $$ >`+m.path("pid")+`.new && mv `+m.path("pid")+`.new `+m.path("pid")+`
sleep $(cat `+m.path("slow")+`)
sha256sum <etc/hosts | cut -d ' ' -f 1 >>execs
`)
	m.configure("agent", nil, fields{"key": "hosts", "file": m.path("etc/hosts"), "exec": m.path("exec")})
	m.file("slow", "0")
	before := m.publish(noise(20_000, 0))
	d := m.agent("agent")
	d.delivers("etc/hosts", before)
	d.endsWell()
	tidy := names(t, m.path("etc")) + names(t, m.path("agent.state")) + names(t, m.path("agent.state/targets"))

	for i := range uint64(times(20)) {
		for _, inExec := range []bool{true, false} {
			m.file("slow", map[bool]string{true: "600", false: "0"}[inExec])
			if err := os.RemoveAll(m.path("pid")); err != nil {
				t.Fatal(err)
			}
			d := m.agent("agent")
			content := m.publish(noise(20_000, 2*i+uint64(len(m.read("slow")))+1000))
			if inExec {
				eventually(t, "the exec runs", func() bool { return m.read("pid") != "" })
			} else {
				<-time.After(rand.N(30 * time.Millisecond))
			}
			d.kill()
			if pid, err := strconv.Atoi(strings.TrimSpace(m.read("pid"))); err == nil {
				_ = syscall.Kill(-pid, syscall.SIGKILL) // it may have ended
			}
			if now := m.read("etc/hosts"); now != content && (now != before || inExec) {
				t.Fatalf("torn: %s", brief(now))
			}
			if inExec && strings.Contains(m.read("execs"), sum(content)) {
				t.Fatal("the exec had come to its end: this test sees nothing")
			}

			m.file("slow", "0")
			d = m.agent("agent")
			d.delivers("etc/hosts", content)
			eventually(t, "the exec is owed no more", func() bool { return !d.target("etc/hosts").Exec.Owed })
			if !strings.HasSuffix(m.read("execs"), sum(content)+"\n") {
				t.Error("the exec did not run for what is in place")
			}
			d.endsWell()
			if now := names(t, m.path("etc")) + names(t, m.path("agent.state")) + names(t, m.path("agent.state/targets")); now != tidy {
				t.Errorf("left behind: %s, where there was %s", now, tidy)
			}
			before = content
		}
	}
}
