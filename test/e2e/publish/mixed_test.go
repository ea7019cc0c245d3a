package publish

import (
	"strings"
	"testing"

	"kvexpress/test/e2e"
)

// kvexpress 1.x and this one in one fleet, both ways.

func TestOldOnesReadWhatWeWrite(t *testing.T) {
	t.Parallel()
	s, m := e2e.Start(t)
	content := e2e.Text("ours", 20)
	m.Ok("in", "-k", "hosts", "-f", m.File("source", content))
	oldReads(s, "hosts", false, content)
	if data := s.Get("kvexpress/hosts/data"); string(data.Value) != content || data.Flags != 0 {
		t.Errorf("plain data is stored as %s, flags %d", e2e.Brief(string(data.Value)), data.Flags)
	}
	if got := s.Value("kvexpress/hosts/checksum"); got != e2e.Sum(content) {
		t.Errorf("the checksum row is %q, want %q", got, e2e.Sum(content))
	}
	m.Ok("in", "-z", "true", "-k", "team/app/flags", "-f", m.Path("source"))
	oldReads(s, "team/app/flags", true, content)
	m.Ok("copy", "-z", "--keyfrom", "hosts", "--keyto", "copied")
	oldReads(s, "copied", true, content)

	// The control: this reader fails on data that 1.x could not read.
	m.Ok("in", "-k", "new", "--encoding", "zstd", "-f", m.Path("source"))
	if got, err := oldOut(s, "new", true); err == nil {
		t.Errorf("1.x reads zstd: %s", e2e.Brief(got))
	}
}

func TestOldWriterOverOurKeyAndBack(t *testing.T) {
	t.Parallel()
	for name, form := range oldForms() {
		t.Run(name, func(t *testing.T) {
			s, m := e2e.Start(t)
			out := func(want, content string) {
				t.Helper()
				if got := m.Ok("out", "-k", "hosts", "-f", m.Path("hosts")); !strings.Contains(got, want) {
					t.Errorf("out says %q, want %q", got, want)
				}
				m.Holds("hosts", content)
			}
			m.Ok("in", "-k", "hosts", "-f", m.File("source", e2e.Text("one", 20)))
			out("installed version 1", e2e.Text("one", 20))
			lineage := s.Manifest("kvexpress/hosts/manifest").Lineage

			oldIn(s, "hosts", e2e.Text("theirs", 20), form)
			// An old command line has -z exactly when the data is compressed.
			m.Ok("out", "-k", "hosts", "-f", m.Path("with"), "-z", "true")
			m.Holds("with", e2e.Text("theirs", 20))
			out("unmanaged", e2e.Text("theirs", 20))
			out("unchanged", e2e.Text("theirs", 20))
			if got := m.Ok("in", "-k", "hosts", "-f", m.File("source", e2e.Text("theirs", 20))); !strings.Contains(got, "unchanged") {
				t.Errorf("in of what 1.x wrote says %q", got)
			}

			m.Ok("in", "-k", "hosts", "-f", m.File("source", e2e.Text("two", 20)))
			if now := s.Manifest("kvexpress/hosts/manifest"); now.Version != 3 || now.Lineage != lineage {
				t.Errorf("after 1.x comes version %d of %s, want version 3 of %s", now.Version, now.Lineage, lineage)
			}
			out("installed version 3", e2e.Text("two", 20))
			oldReads(s, "hosts", false, e2e.Text("two", 20))
			m.Ok("rollback", "-k", "hosts") // to version 2, which 1.x wrote
			oldReads(s, "hosts", s.Get("kvexpress/hosts/data").Flags == 1, e2e.Text("theirs", 20))
		})
	}
}

// A stop of 1.x freezes us, and 1.x reads ours. A stop that 1.x or a person removes has
// ended.
func TestStopsOfBothKinds(t *testing.T) {
	t.Parallel()
	s, m := e2e.Start(t)
	const stop = "kvexpress/hosts/stop"
	out := []string{"out", "--strict", "-k", "hosts", "-f", m.Path("hosts")}
	m.Ok("in", "-k", "hosts", "-f", m.File("source", e2e.Text("one", 20)))
	s.Put(stop, "their reason", 0)
	m.Fails(3, []string{"hosts", "their reason", "resume"}, out...)
	m.Fails(3, []string{"hosts", "their reason", "resume"}, "in", "-k", "hosts", "-f", m.File("source", e2e.Text("two", 20)))
	oldReads(s, "hosts", false, e2e.Text("one", 20))
	m.Ok("resume", "-k", "hosts")
	if s.Get(stop) != nil {
		t.Error("resume left 1.x's stop")
	}
	m.Ok("stop", "-k", "hosts", "-r", "our reason")
	if got := s.Value(stop); got != "our reason" {
		t.Errorf("1.x reads the stop %q", got)
	}
	s.Remove(stop)
	m.Ok("in", "-k", "hosts", "-f", m.Path("source"))
	s.Put(stop, "", 0) // 1.x takes an empty row for none
	m.Ok(out...)
	m.Holds("hosts", e2e.Text("two", 20))
}

// The same for locks.
func TestLocksOfBothKinds(t *testing.T) {
	t.Parallel()
	s, m := e2e.Start(t)
	file := m.File("hosts", "kept\n")
	lock := oldLock(t, file)
	out := []string{"out", "--strict", "-k", "hosts", "-f", file}
	m.Ok("in", "-k", "hosts", "-f", m.File("source", e2e.Text("one", 20)))
	s.Put(lock, "their reason", 0)
	m.Fails(4, []string{file, "their reason", "unlock"}, out...)
	m.Ok("unlock", "-f", file)
	if s.Get(lock) != nil {
		t.Error("unlock left 1.x's lock")
	}
	for _, args := range [][]string{nil, {"-r", "our reason", "--for", "1h"}} {
		m.Ok(append([]string{"lock", "-f", file}, args...)...)
		if got := s.Value(lock); args == nil && !strings.HasPrefix(got, "No reason given for '"+file+"' by '") || args != nil &&
			got != "our reason" {
			t.Errorf("1.x reads the lock %q", got)
		}
		if m.Read("hosts.locked") == "" {
			t.Error("hosts.locked is not there")
		}
		m.Fails(4, []string{file}, out...)
		s.Remove(lock) // as `unlock` of 1.x does
	}
	m.Holds("hosts", "kept\n")
	m.Ok("unlock", "-f", file)
	if m.Read("hosts.locked") != "" {
		t.Error("unlock leaves hosts.locked")
	}
	m.Ok(out...)
	m.Holds("hosts", e2e.Text("one", 20))
}
