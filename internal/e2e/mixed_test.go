package e2e

import (
	"os"
	"strings"
	"testing"
)

// kvexpress 1.x and this one in one fleet, both ways.

func TestDeliversWhatOldOnesWrote(t *testing.T) {
	t.Parallel()
	s, _ := start(t)
	for name, form := range oldForms() {
		t.Run(name, func(t *testing.T) {
			s := s.on(t)
			m := newMachine(t, s.server.Addr)
			content := text(name, 20)
			s.oldIn("hosts", content, form)
			// An old command line has -z exactly when the data is compressed.
			for file, args := range map[string][]string{"with": {"-z", "true"}, "without": nil} {
				out := m.ok(append([]string{"out", "-k", "hosts", "-f", m.path(file)}, args...)...)
				if !strings.Contains(out, "installed an unmanaged version of hosts (20 lines") {
					t.Errorf("%s -z it says %q", file, out)
				}
				m.holds(file, content)
			}
			// A node whose rows disagree for good refuses them.
			s.put("kvexpress/hosts/checksum", sum("other content"), 0)
			m.fails(6, []string{"hosts", "checksum"}, "out", "-k", "hosts", "-f", m.path("with"))
			m.holds("with", content)
		})
	}
}

func TestOldOnesReadWhatWeWrite(t *testing.T) {
	t.Parallel()
	s, m := start(t)
	content := text("ours", 20)
	m.ok("in", "-k", "hosts", "-f", m.file("source", content))
	s.oldReads("hosts", false, content)
	if data := s.get("kvexpress/hosts/data"); string(data.Value) != content || data.Flags != 0 {
		t.Errorf("plain data is stored as %s, flags %d", brief(string(data.Value)), data.Flags)
	}
	if got := s.value("kvexpress/hosts/checksum"); got != sum(content) {
		t.Errorf("the checksum row is %q, want %q", got, sum(content))
	}
	m.ok("in", "-z", "true", "-k", "team/app/flags", "-f", m.path("source"))
	s.oldReads("team/app/flags", true, content)
	m.ok("copy", "-z", "--keyfrom", "hosts", "--keyto", "copied")
	s.oldReads("copied", true, content)

	// The control: this reader tells what 1.x could not read.
	m.ok("in", "-k", "new", "--encoding", "zstd", "-f", m.path("source"))
	if got, err := s.oldOut("new", true); err == nil {
		t.Errorf("1.x reads zstd: %s", brief(got))
	}
}

func TestOldWriterOverOurKeyAndBack(t *testing.T) {
	t.Parallel()
	for name, form := range oldForms() {
		t.Run(name, func(t *testing.T) {
			s, m := start(t)
			out := func(want, content string) {
				t.Helper()
				if got := m.ok("out", "-k", "hosts", "-f", m.path("hosts")); !strings.Contains(got, want) {
					t.Errorf("out says %q, want %q", got, want)
				}
				m.holds("hosts", content)
			}
			m.ok("in", "-k", "hosts", "-f", m.file("source", text("one", 20)))
			out("installed version 1", text("one", 20))
			lineage := s.manifest("kvexpress/hosts/manifest").Lineage

			s.oldIn("hosts", text("theirs", 20), form)
			out("installed an unmanaged version", text("theirs", 20))
			out("unchanged", text("theirs", 20))
			if got := m.ok("in", "-k", "hosts", "-f", m.file("source", text("theirs", 20))); !strings.Contains(got, "unchanged, an unmanaged version stands") {
				t.Errorf("in of what 1.x wrote says %q", got)
			}

			m.ok("in", "-k", "hosts", "-f", m.file("source", text("two", 20)))
			if now := s.manifest("kvexpress/hosts/manifest"); now.Version != 2 || now.Lineage != lineage {
				t.Errorf("after 1.x comes version %d of %s, want version 2 of %s", now.Version, now.Lineage, lineage)
			}
			out("installed version 2", text("two", 20))
			s.oldReads("hosts", false, text("two", 20))
		})
	}
}

// 1.x writes data and checksum one after the other. Who reads in between waits
// for the second write.
func TestWaitsForAnOldWriterBetweenItsTwoWrites(t *testing.T) {
	t.Parallel()
	s, _ := start(t)
	for name, command := range map[string][]string{
		"out":  {"out", "-k", "hosts", "-f", "hosts"},
		"in":   {"in", "-k", "hosts", "-f", "source"},
		"copy": {"copy", "--keyfrom", "hosts", "--keyto", "copied"},
	} {
		t.Run(name, func(t *testing.T) {
			s := s.on(t)
			const data, checksum = "kvexpress/hosts/data", "kvexpress/hosts/checksum"
			s.oldIn("hosts", text("one", 20), oldForms()["plain"])
			seen := 0
			addr := newProxy(t, s, func(e *exchange) {
				e.pass()
				if e.reads(data) {
					if seen++; seen == 2 {
						s.put(checksum, sum(text("two", 20)), 0)
					}
				}
			})
			m := newMachine(t, addr)
			m.file("source", text("three", 20))
			m.file("hosts", text("zero", 20))
			s.put(data, text("two", 20), 0) // and the checksum is to follow
			r := m.want(0, command...)
			if seen < 3 {
				t.Errorf("the data was read %d times: nobody waited", seen)
			}
			if strings.Contains(r.stderr, "damaged") {
				t.Errorf("a half-written key was taken for a damaged one: %s", r.stderr)
			}
			switch name {
			case "out":
				m.holds("hosts", text("two", 20))
			case "in":
				s.oldReads("hosts", false, text("three", 20))
			case "copy":
				s.oldReads("copied", false, text("two", 20))
			}
		})
	}
	t.Run("which never comes", func(t *testing.T) {
		s := s.on(t)
		m := newMachine(t, s.server.Addr)
		m.file("hosts", "kept\n")
		s.oldIn("torn", text("one", 20), oldForms()["plain"])
		s.put("kvexpress/torn/data", text("two", 20), 0)
		m.fails(6, []string{"torn", "checksum", "left as it is"}, "out", "-k", "torn", "-f", m.path("hosts"))
		m.holds("hosts", "kept\n")
	})
}

func TestStopsOfBothKinds(t *testing.T) {
	t.Parallel()
	s, m := start(t)
	const stop = "kvexpress/hosts/stop"
	m.ok("in", "-k", "hosts", "-f", m.file("source", text("one", 20)))
	m.ok("out", "-k", "hosts", "-f", m.path("hosts"))
	m.file("hosts", "drifted\n")
	m.file("source", text("two", 20))

	s.put(stop, "their reason", 0)
	if got := m.ok("out", "-k", "hosts", "-f", m.path("hosts")); !strings.Contains(got, "stopped: their reason") {
		t.Errorf("out under 1.x's stop says %q", got)
	}
	m.fails(3, []string{"hosts", "their reason", "resume"}, "out", "--strict", "-k", "hosts", "-f", m.path("hosts"))
	m.fails(3, []string{"hosts", "their reason", "resume"}, "in", "-k", "hosts", "-f", m.path("source"))
	m.holds("hosts", "drifted\n")
	s.oldReads("hosts", false, text("one", 20))
	m.ok("resume", "-k", "hosts")
	if s.get(stop) != nil {
		t.Error("resume left 1.x's stop")
	}

	m.ok("stop", "-k", "hosts", "-r", "our reason")
	if got := s.get(stop); got == nil || string(got.Value) != "our reason" {
		t.Errorf("1.x reads the stop %v", got)
	}
	s.remove(stop) // by hand, as 1.x had it
	m.ok("in", "-k", "hosts", "-f", m.path("source"))
	m.ok("out", "-k", "hosts", "-f", m.path("hosts"))
	m.holds("hosts", text("two", 20))

	// 1.x takes an empty row for none.
	s.put(stop, "", 0)
	m.ok("in", "-k", "hosts", "-f", m.file("source", text("three", 20)))
	m.ok("out", "-k", "hosts", "-f", m.path("hosts"))
	m.holds("hosts", text("three", 20))
}

func TestLocksOfBothKinds(t *testing.T) {
	t.Parallel()
	s, m := start(t)
	m.ok("in", "-k", "hosts", "-f", m.file("source", text("one", 20)))
	file := m.path("hosts")
	m.file("hosts", "kept\n")
	lock := oldLock(t, file)

	s.put(lock, "their reason", 0)
	if got := m.ok("out", "-k", "hosts", "-f", file); !strings.Contains(got, "locked: their reason") {
		t.Errorf("out under 1.x's lock says %q", got)
	}
	m.fails(4, []string{file, "their reason", "unlock"}, "out", "--strict", "-k", "hosts", "-f", file)
	m.holds("hosts", "kept\n")
	m.ok("unlock", "-f", file)
	if s.get(lock) != nil {
		t.Error("unlock left 1.x's lock")
	}

	for _, args := range [][]string{nil, {"-r", "our reason", "--for", "1h"}} {
		m.ok(append([]string{"lock", "-f", file}, args...)...)
		got := s.get(lock)
		if got == nil || args == nil && !strings.HasPrefix(string(got.Value), "No reason given for '"+file+"' by '") ||
			args != nil && string(got.Value) != "our reason" {
			t.Errorf("1.x reads the lock %v", got)
		}
		if m.read("hosts.locked") == "" {
			t.Error("hosts.locked is not there")
		}
		m.ok("out", "-k", "hosts", "-f", file)
		m.holds("hosts", "kept\n")
		s.remove(lock) // as `unlock` of 1.x does
	}
	m.ok("unlock", "-f", file)
	if _, err := os.Stat(file + ".locked"); !os.IsNotExist(err) {
		t.Errorf("unlock leaves hosts.locked: %v", err)
	}
	m.ok("out", "-k", "hosts", "-f", file)
	m.holds("hosts", text("one", 20))
}

func hostname(t testing.TB) string {
	t.Helper()
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	return name
}
