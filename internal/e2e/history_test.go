package e2e

import (
	"strings"
	"testing"
)

// History that is damaged, pruned or gone never stops a publish, and a number of
// a lineage is never used twice while anything tells of it.
func TestDamagedHistory(t *testing.T) {
	t.Parallel()
	const past, live = "kvexpress/.history/hosts/", "kvexpress/hosts/"
	remove := func(s *store, rows ...string) {
		for _, r := range rows {
			s.remove(r)
		}
	}
	gone := []string{live + "data", live + "checksum", live + "manifest"}
	s, _ := start(t)
	for name, c := range map[string]struct {
		damage  func(*store)
		version uint64 // that the next publish gets, after version 3
		lineage bool   // of the versions before
	}{
		"a past version is damaged": {func(s *store) {
			s.put(past+"2/manifest", "{", 0)
			s.put(past+"2/data", "junk", 2)
		}, 4, true},
		"a past version is pruned by hand": {func(s *store) { remove(s, past+"2/manifest", past+"2/data") }, 4, true},
		"all of it is gone": {func(s *store) {
			for _, k := range s.keys(past) {
				s.remove(k)
			}
		}, 4, true},
		"the place of the next version is taken by junk": {func(s *store) {
			s.put(past+"4/manifest", "junk", 0)
			s.put(past+"4/data", "junk", 0)
		}, 4, true},
		"the key was deleted": {func(s *store) { remove(s, gone...) }, 4, true},
		"the key was deleted, its last version damaged": {func(s *store) {
			remove(s, gone...)
			s.put(past+"3/manifest", "{", 0)
		}, 4, true},
		"the key was deleted, all of its history damaged": {func(s *store) {
			remove(s, gone...)
			for _, v := range []string{"1", "2", "3"} {
				s.put(past+v+"/manifest", "{", 0)
			}
		}, 1, false},
		"the manifest was deleted": {func(s *store) { s.remove(live + "manifest") }, 4, true},
		"the manifest is damaged":  {func(s *store) { s.put(live+"manifest", "{", 0) }, 4, true},
		"the data was deleted":     {func(s *store) { s.remove(live + "data") }, 4, true},
		"the data is damaged":      {func(s *store) { s.put(live+"data", "junk", 0) }, 4, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := s.on(t)
			for _, k := range s.keys("kvexpress/") {
				s.remove(k)
			}
			m := newMachine(t, s.server.Addr)
			for _, content := range []string{"one", "two", "three"} {
				m.ok("in", "-k", "hosts", "-f", m.file("source", text(content, 20)))
			}
			m.ok("out", "-k", "hosts", "-f", m.path("hosts"))
			before := s.manifest(live + "manifest")
			c.damage(s)
			// Whatever it is, a node keeps its file, or has it right already.
			if r := m.run("out", "-k", "hosts", "-f", m.path("hosts")); r.code != 0 && r.code != 5 && r.code != 6 {
				t.Errorf("out: exit %d\n%s", r.code, r.stderr)
			}
			m.holds("hosts", text("three", 20))

			m.ok("in", "-k", "hosts", "-f", m.file("source", text("four", 20)))
			now := s.manifest(live + "manifest")
			if now.Version != c.version || (now.Lineage == before.Lineage) != c.lineage {
				t.Errorf("version %d of %s follows version 3 of %s, want version %d, the same lineage: %t",
					now.Version, now.Lineage, before.Lineage, c.version, c.lineage)
			}
			if got := s.manifest(past + versionText(c.version) + "/manifest"); got != now {
				t.Errorf("its history has %+v, want %+v", got, now)
			}
			r := m.want(0, "out", "-k", "hosts", "-f", m.path("hosts"))
			m.holds("hosts", text("four", 20))
			if told := strings.Contains(r.stderr, "made anew"); told == c.lineage {
				t.Errorf("another lineage: %t; it is told: %t\n%s", !c.lineage, told, r.stderr)
			}
			s.oldReads("hosts", false, text("four", 20))
		})
	}
}

func versionText(v uint64) string { return string(rune('0' + v)) } // below 10

// What is damaged is healed by publishing the same content again.
func TestHealing(t *testing.T) {
	t.Parallel()
	s, m := start(t)
	m.ok("in", "-k", "hosts", "-f", m.file("source", text("one", 20)))
	s.put("kvexpress/hosts/data", "junk", 0)
	m.fails(6, []string{"hosts", "kvexpress in"}, "out", "-k", "hosts", "-f", m.path("hosts"))
	m.holds("hosts", "")
	if got := m.ok("in", "-k", "hosts", "-f", m.path("source")); !strings.Contains(got, "was damaged, published again as version 2") {
		t.Errorf("in says %q", got)
	}
	m.ok("out", "-k", "hosts", "-f", m.path("hosts"))
	m.holds("hosts", text("one", 20))
}
