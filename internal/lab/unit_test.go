//go:build linux

package lab

import (
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A unit that is stopped in the moment in which it is started again is told to end, like
// any other. Taken out: that it is told after its start; then it is killed after 10 s.
func TestAUnitIsStoppedWhileItIsStarted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := &spawner{requests: make(chan spawn)}
	u := &Unit{
		Name: "again", Argv: []string{"sh", "-c", `if test -e "$0"; then exec sleep 1000; fi; touch "$0"`, filepath.Join(dir, "ran")},
		Dir: dir, Log: filepath.Join(dir, "log"), Restart: true, spawner: s,
	}
	started := make(chan error, 1)
	go func() { started <- u.Start() }()
	r := <-s.requests
	r.done <- r.cmd.Start()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	run := u.run
	r = <-s.requests // it has ended, and is to be started again
	stopped := make(chan error, 1)
	go func() { stopped <- u.Stop() }()
	<-run.stopping
	tick := time.NewTimer(100 * time.Millisecond) // for Stop to find nobody
	defer tick.Stop()
	<-tick.C
	r.done <- r.cmd.Start()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	status, ok := r.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !ok || status.Signal() != syscall.SIGTERM {
		t.Errorf("it ended with %v, want SIGTERM", r.cmd.ProcessState)
	}
}

// Nobody waits for a program that has ended for good. Taken out: that a poll ends with
// errEnded; then this lasts two minutes, and is in vain.
func TestAServerThatEndsIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	spawner := newSpawner()
	defer spawner.stop()
	log := filepath.Join(t.TempDir(), "log")
	consul := &Unit{Name: "consul-server-1", Argv: []string{"sh", "-c", "echo there is no disk; exit 1"}, Log: log, spawner: spawner}
	if err := consul.Start(); err != nil {
		t.Fatal(err)
	}
	<-consul.run.ended
	err := new(Lab).Ready(t.Context(), &Server{Name: "server-1", Consul: consul})
	if err == nil || !strings.Contains(err.Error(), "there is no disk") || strings.Contains(err.Error(), "in vain") {
		t.Errorf("it says %v", err)
	}
}

// What the lab's programs say stays in the lab.
func TestProgramsDoNotWriteToTheSyslog(t *testing.T) {
	t.Setenv("KVEXPRESS_SYSLOG", "/dev/log")
	cmd := exec.CommandContext(t.Context(), "sh", "-c", `test "$KVEXPRESS_SYSLOG" = off`)
	cmd.Env = environ()
	if err := cmd.Run(); err != nil {
		t.Errorf("KVEXPRESS_SYSLOG is not off: %v", err)
	}
}

// A kernel that has lost events says so, and so does the lab: what was not seen must not
// pass for what did not happen.
func TestLostSightsAreAnError(t *testing.T) {
	t.Parallel()
	events, kernel, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer kernel.Close()
	s := &Sights{file: events}
	var wg sync.WaitGroup
	wg.Go(s.read)
	defer wg.Wait()
	defer events.Close()
	event := make([]byte, unix.SizeofInotifyEvent)
	binary.NativeEndian.PutUint32(event, ^uint32(0)) // of no watch
	binary.NativeEndian.PutUint32(event[4:], unix.IN_Q_OVERFLOW)
	if _, err := kernel.Write(event); err != nil {
		t.Fatal(err)
	}
	if err := poll(t.Context(), "the error", func() error {
		if s.Err() == nil {
			return errors.New("there is none")
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

// Where two servers render a change, it is rendered when the first of them has. Taken out:
// that the first counts; then it is the last in the order of servers.
func TestTheFirstServerThatRendersCounts(t *testing.T) {
	t.Parallel()
	began := time.Now()
	at := func(d time.Duration, name string) Sight {
		return Sight{At: began.Add(d), Hosts: map[string]netip.Addr{name: {}}}
	}
	s := &Scene{
		Lab: &Lab{Servers: []*Server{{Rendered: "a"}, {Rendered: "b"}, {Rendered: "c"}}},
		Sights: &Sights{seen: map[string][]Sight{
			"a": {at(-time.Second, "new"), at(3*time.Second, "new")},
			"b": {at(time.Second, "old"), at(2*time.Second, "new")},
			"c": {at(4*time.Second, "new")},
		}},
	}
	right := func(name string) func(map[string]netip.Addr) bool {
		return func(hosts map[string]netip.Addr) bool { _, ok := hosts[name]; return ok }
	}
	if got, ok := s.rendered(began, right("new")); !ok || got.Sub(began) != 2*time.Second {
		t.Errorf("it was rendered after %v, %v", got.Sub(began), ok)
	}
	if got, ok := s.rendered(began, right("other")); ok {
		t.Errorf("what nobody rendered was rendered at %v", got)
	}
}

// Servers that are without a leader for a moment, and say so, are asked again. Taken out:
// that they are; then a busy machine ends a run of the lab.
func TestServersWithoutALeaderAreAskedAgain(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/status/leader" {
			_, _ = io.WriteString(w, `"127.9.9.9:8300"`)
			return
		}
		switch asked.Add(1) {
		case 1, 3:
			http.Error(w, "No cluster leader", http.StatusInternalServerError)
		case 2:
			w.Header().Set("X-Consul-Index", "5")
		default:
			w.Header().Set("X-Consul-Index", "6")
		}
	}))
	defer server.Close()
	spawner := newSpawner()
	defer spawner.stop()
	// The leader must be one that runs.
	consul := &Unit{Name: "consul", Argv: []string{"sleep", "1000"}, Log: filepath.Join(t.TempDir(), "log"), spawner: spawner}
	if err := consul.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := consul.Stop(); err != nil {
			t.Error(err)
		}
	}()
	s := &Scene{Lab: &Lab{
		Servers: []*Server{{Addr: server.Listener.Addr().String(), host: "127.9.9.9", Consul: consul}}, api: newAPI(), secrets: newSecrets(nil, nil),
	}}
	defer s.wg.Wait()
	heard, err := s.catalog(t.Context(), &Service{Name: "web-01"})
	if err != nil {
		t.Fatal(err)
	}
	if at, err := heard(); err != nil || at.IsZero() || asked.Load() != 4 {
		t.Errorf("after %d questions: %v, %v", asked.Load(), at, err)
	}
}
