//go:build linux

package agent

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/testutil/consultest"
	"kvexpress/test/e2e"
)

// moved is a node on its way from a watch to the agent, or back: both have the same
// file, exec and state.
type moved struct {
	*e2e.Machine
	server *consultest.Server
	store  *e2e.Store
	reload string
	number int    // of the last version
	execs  string // those that must have run, by the SHA-256 of the bytes in place
}

// watch sets Consul's watches: the one on the key, or none.
func (m *moved) watch(on bool) {
	m.T.Helper()
	watches := []any{}
	if on {
		watches = append(watches, map[string]any{"type": "key", "key": "/kvexpress/hosts/checksum", "args": []any{m.Path("logged")}})
	}
	config, err := json.Marshal(map[string]any{"watches": watches})
	if err == nil {
		err = os.WriteFile(m.server.Config, config, 0o600)
	}
	if err != nil {
		m.T.Fatal(err)
	}
	m.server.Reload()
}

// outs is how often the watch has delivered, or found nothing to do.
func (m *moved) outs() int { return strings.Count(m.Read("runs.log"), "\n") }

// next publishes a version, waits until watch and agent have processed it, and
// wants its exec to have run once. Every third version is of 1.x, which writes the data
// and then the checksum.
func (m *moved) next(d *e2e.Daemon, watched bool) {
	m.T.Helper()
	m.number++
	before := m.outs()
	content := e2e.Text(fmt.Sprintf("number-%d", m.number), 20)
	if m.number%3 == 0 {
		m.store.Put("kvexpress/hosts/data", content, 0)
		e2e.Pause(time.Duration(m.number%5) * 20 * time.Millisecond)
		m.store.Put("kvexpress/hosts/checksum", e2e.Sum(content), 0)
	} else {
		m.Publish(content)
	}
	if watched {
		e2e.Eventually(m.T, "the watch has run", func() bool { return m.outs() > before })
	}
	if d != nil {
		d.Delivers("hosts", content)
	}
	m.Holds("hosts", content)
	m.execs += e2e.Sum(content) + "\n"
	e2e.Eventually(m.T, "the exec has run", func() bool { return len(m.Read("execs")) >= len(m.execs) })
	m.Holds("execs", m.execs)
}

// The way from a watch to the agent, and back, without a gap: at each moment the watch or the
// agent delivers, and each version has its exec once, also while both deliver, while 1.x
// publishes too, and over an upgrade of the agent. Without their common state, the exec would
// run twice for the same bytes.
func TestFromAWatchToTheAgentAndBack(t *testing.T) {
	t.Parallel()
	s := consultest.Start(t, consultest.WithEnv(e2e.Quiet(t.TempDir())...))
	m := &moved{Machine: e2e.NewMachine(t, s.Addr), server: s, store: &e2e.Store{T: t, Server: s}}
	m.reload = m.Script("reload", "echo $KVEXPRESS_SHA256 >>"+m.Path("execs")+"\n")
	m.Script("logged", fmt.Sprintf("%s out -k hosts -f %s -l 1 -e %s -s %s --state-dir %s >>%s 2>&1\n",
		e2e.Program.Path, m.Path("hosts"), m.reload, s.Addr, m.Path("state"), m.Path("runs.log")))
	m.Configure("agent", e2e.Fields{"state_dir": m.Path("state")},
		e2e.Fields{"key": "hosts", "file": m.Path("hosts"), "exec": m.reload})

	m.watch(true)
	e2e.Eventually(t, "the watch has run, and found no key", func() bool { return m.outs() == 1 })
	for range 3 {
		m.next(nil, true)
	}
	d := m.Agent("agent") // beside the watch
	d.Delivers("hosts", m.Read("hosts"))
	for i := range e2e.Times(50) {
		m.next(d, true)
		if i%7 == 3 { // the upgrade
			d.EndsWell()
			d = m.Agent("agent")
		}
	}
	m.watch(false)
	for range 3 {
		m.next(d, false)
	}
	runs := m.outs()
	m.watch(true) // and back: it fires, and finds nothing to do
	e2e.Eventually(t, "the watch has run", func() bool { return m.outs() == runs+1 })
	for range e2e.Times(50) {
		m.next(d, true)
	}
	d.EndsWell()
	for range 3 {
		m.next(nil, true)
	}
	if said := m.Read("runs.log"); !strings.Contains(said, "version 2") || strings.Contains(said, "kvexpress: ") &&
		!strings.Contains(said, "no such key") {
		t.Errorf("the watch said\n%s", said)
	}
}
