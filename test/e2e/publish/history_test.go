package publish

import (
	"strings"
	"testing"

	"kvexpress/test/e2e"
)

// History that is damaged, pruned or gone never stops a publish, and a number of
// a lineage is never used twice while anything tells of it.
func TestDamagedHistory(t *testing.T) {
	t.Parallel()
	const past, live = "kvexpress/.history/hosts/", "kvexpress/hosts/"
	remove := func(s *e2e.Store, rows ...string) {
		for _, r := range rows {
			s.Remove(r)
		}
	}
	gone := []string{live + "data", live + "checksum", live + "manifest"}
	s, _ := e2e.Start(t)
	for name, c := range map[string]struct {
		damage  func(*e2e.Store)
		version uint64 // that the next publish gets, after version 3
		lineage bool   // of the versions before
	}{
		"a past version is damaged": {func(s *e2e.Store) {
			s.Put(past+"2/manifest", "{", 0)
			s.Put(past+"2/data", "junk", 2)
		}, 4, true},
		"all of it is gone": {func(s *e2e.Store) {
			for _, k := range s.Keys(past) {
				s.Remove(k)
			}
		}, 4, true},
		"the place of the next version is taken by junk": {func(s *e2e.Store) {
			s.Put(past+"4/manifest", "junk", 0)
			s.Put(past+"4/data", "junk", 0)
		}, 5, true},
		"the key was deleted": {func(s *e2e.Store) { remove(s, gone...) }, 4, true},
		"the key was deleted, its last version damaged": {func(s *e2e.Store) {
			remove(s, gone...)
			s.Put(past+"3/manifest", "{", 0)
		}, 4, true},
		"the key was deleted, all of its history damaged": {func(s *e2e.Store) {
			remove(s, gone...)
			for _, v := range []string{"1", "2", "3"} {
				s.Put(past+v+"/manifest", "{", 0)
			}
		}, 1, false},
		"the manifest was deleted": {func(s *e2e.Store) { s.Remove(live + "manifest") }, 4, true},
		"the manifest is damaged":  {func(s *e2e.Store) { s.Put(live+"manifest", "{", 0) }, 4, true},
		"the data is damaged":      {func(s *e2e.Store) { s.Put(live+"data", "junk", 0) }, 4, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := s.On(t)
			for _, k := range s.Keys("kvexpress/") {
				s.Remove(k)
			}
			m := e2e.NewMachine(t, s.Server.Addr)
			for _, content := range []string{"one", "two", "three"} {
				m.Ok("in", "-k", "hosts", "-f", m.File("source", e2e.Text(content, 20)))
			}
			m.Ok("out", "-k", "hosts", "-f", m.Path("hosts"))
			before := s.Manifest(live + "manifest")
			c.damage(s)
			// Whatever it is, a node keeps its file, or has it right already.
			if r := m.Run("out", "-k", "hosts", "-f", m.Path("hosts")); r.Code != 0 && r.Code != 5 && r.Code != 6 {
				t.Errorf("out: exit %d\n%s", r.Code, r.Stderr)
			}
			m.Holds("hosts", e2e.Text("three", 20))

			m.Ok("in", "-k", "hosts", "-f", m.File("source", e2e.Text("four", 20)))
			now := s.Manifest(live + "manifest")
			if now.Version != c.version || (now.Lineage == before.Lineage) != c.lineage {
				t.Errorf("version %d of %s follows version 3 of %s, want version %d, the same lineage: %t",
					now.Version, now.Lineage, before.Lineage, c.version, c.lineage)
			}
			if got := s.Manifest(past + versionText(c.version) + "/manifest"); got != now {
				t.Errorf("its history has %+v, want %+v", got, now)
			}
			r := m.Want(0, "out", "-k", "hosts", "-f", m.Path("hosts"))
			m.Holds("hosts", e2e.Text("four", 20))
			if told := strings.Contains(r.Stderr, "made anew"); told == c.lineage {
				t.Errorf("another lineage: %t; it is told: %t\n%s", !c.lineage, told, r.Stderr)
			}
			oldReads(s, "hosts", false, e2e.Text("four", 20))
		})
	}
}

func versionText(v uint64) string { return string(rune('0' + v)) } // below 10

// A store that went back to version 3 and kept its newer history gives no number twice,
// whoever publishes. A snapshot of all of Consul brings the history back as well: then
// a number comes again, and a node goes by the bytes.
func TestNumbersAfterARestore(t *testing.T) {
	t.Parallel()
	s, m := e2e.Start(t)
	backup, snapshot := m.Path("backup"), m.Path("snapshot")
	in := func(text string) string {
		t.Helper()
		return m.Ok("in", "-k", "hosts", "-f", m.File("source", e2e.Text(text, 20)))
	}
	consul := func(args ...string) {
		t.Helper()
		args = append([]string{"snapshot", args[0], "-http-addr=" + s.Server.Addr}, args[1:]...)
		if r := m.Exec(s.Server.Bin, args); r.Code != 0 {
			t.Fatalf("consul %v: %d %s%s", args, r.Code, r.Stdout, r.Stderr)
		}
	}
	m.Ok("in", "-k", "other", "-f", m.File("source", e2e.Text("other", 20)))
	for _, text := range []string{"1", "2", "3"} {
		in(text)
	}
	m.File("backup", m.Ok("kv", "export", "kvexpress/hosts/"))
	consul("save", snapshot)
	in("4")
	in("5")
	for _, publish := range []struct {
		version uint64
		how     func()
	}{
		{6, func() { in("new") }},
		{7, func() { m.Ok("copy", "--keyfrom", "other", "--keyto", "hosts") }},
		{8, func() { m.Ok("rollback", "-k", "hosts") }},
	} {
		m.Ok("kv", "import", backup)
		if v := s.Version(); v != 3 {
			t.Fatalf("version %d was restored, want 3", v)
		}
		if publish.how(); s.Version() != publish.version {
			t.Errorf("version %d follows, want %d", s.Version(), publish.version)
		}
	}
	if got := s.Value("kvexpress/hosts/data"); got != e2e.Text("2", 20) {
		t.Errorf("the rollback from version 3 brought %s", e2e.Brief(got))
	}
	m.Ok("rollback", "-k", "hosts", "--to", "5")

	out := []string{"out", "-k", "hosts", "-f", m.Path("hosts")}
	m.Ok(out...)
	consul("restore", snapshot)
	in("another 4")
	m.Ok(out...)
	m.Holds("hosts", e2e.Text("another 4", 20))
}
