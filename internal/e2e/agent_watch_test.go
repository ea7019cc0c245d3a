//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"kvexpress/internal/consultest"
)

// moved is a node on its way from a watch to the agent, or back: both have the same
// file, exec and state.
type moved struct {
	*machine
	server *consultest.Server
	reload string
	number int // of the last version
}

// watch sets Consul's watches: the one on the key, or none.
func (m *moved) watch(on bool) {
	m.t.Helper()
	watches := []any{}
	if on {
		watches = append(watches, map[string]any{"type": "key", "key": "/kvexpress/hosts/checksum", "args": []any{m.path("logged")}})
	}
	config, err := json.Marshal(map[string]any{"watches": watches})
	if err == nil {
		err = os.WriteFile(m.server.Config, config, 0o600)
	}
	if err != nil {
		m.t.Fatal(err)
	}
	m.server.Reload()
}

// outs is how often the watch has delivered, or found nothing to do.
func (m *moved) outs() int { return strings.Count(m.read("runs.log"), "\n") }

// next publishes a version, waits until all who look after the file have done so, and
// wants its exec to have run once.
func (m *moved) next(d *daemon, watched bool) {
	m.t.Helper()
	m.number++
	before := m.outs()
	content := m.publish(text(fmt.Sprintf("number-%d", m.number), 20))
	if watched {
		eventually(m.t, "the watch has looked", func() bool { return m.outs() > before })
	}
	if d != nil {
		d.delivers("hosts", content)
	}
	m.holds("hosts", content)
	want := ""
	for i := range m.number {
		want += fmt.Sprintf("%d\n", i+1)
	}
	eventually(m.t, "the exec has run", func() bool { return len(m.read("execs")) >= len(want) })
	m.holds("execs", want)
}

// The way from a watch to the agent, and back, without a gap: at each moment somebody
// delivers, and each version has its exec once, also while both do.
func TestFromAWatchToTheAgentAndBack(t *testing.T) {
	t.Parallel()
	s := consultest.Start(t, consultest.WithEnv(quiet(t.TempDir())...))
	m := &moved{machine: newMachine(t, s.Addr), server: s}
	m.reload = m.script("reload", "echo $KVEXPRESS_VERSION >>"+m.path("execs")+"\n")
	m.script("logged", fmt.Sprintf("%s out -k hosts -f %s -l 1 -e %s -s %s --state-dir %s >>%s 2>&1\n",
		program.path, m.path("hosts"), m.reload, s.Addr, m.path("state"), m.path("runs.log")))
	m.configure("agent", fields{"state_dir": m.path("state")}, fields{"key": "hosts", "file": m.path("hosts"), "exec": m.reload})

	m.watch(true)
	eventually(t, "the watch has looked, and found no key", func() bool { return m.outs() == 1 })
	for range 3 {
		m.next(nil, true)
	}
	d := m.agent("agent") // beside the watch
	d.delivers("hosts", m.read("hosts"))
	for range times(50) {
		m.next(d, true)
	}
	m.watch(false)
	for range 3 {
		m.next(d, false)
	}
	looked := m.outs()
	m.watch(true) // and back: it fires, and finds nothing to do
	eventually(t, "the watch has looked", func() bool { return m.outs() == looked+1 })
	for range times(50) {
		m.next(d, true)
	}
	d.endsWell()
	for range 3 {
		m.next(nil, true)
	}
	if said := m.read("runs.log"); !strings.Contains(said, "installed version 2") || strings.Contains(said, "kvexpress: ") && !strings.Contains(said, "no such key") {
		t.Errorf("the watch said\n%s", said)
	}

	// The control: with another state folder, nobody knows that the exec ran.
	m.watch(false)
	content := m.publish(text("control", 20))
	m.ok("-p", "kvexpress", "out", "-k", "hosts", "-f", m.path("hosts"), "-l", "1", "-e", m.reload, "--state-dir", m.path("another"))
	d = m.agent("agent")
	d.delivers("hosts", content)
	if ran := strings.Count(m.read("execs"), fmt.Sprintf("%d\n", m.number+1)); ran != 2 {
		t.Errorf("with another state, the exec ran %d times: this test sees nothing", ran)
	}
}
