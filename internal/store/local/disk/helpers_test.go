package disk_test

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"kvexpress/internal/store/local"
	"kvexpress/internal/store/local/disk"
)

// times is n in a soak and a tenth of it else.
func times(n int) int {
	if os.Getenv("KVEXPRESS_SOAK") == "1" {
		return n
	}
	return max(1, n/10)
}

// smallLog is the size of the tests' logs: it is full after a few writes, and some do not fit.
const smallLog = 16 << 10

// open opens and loads a folder, with a small log if it is new. It is closed with the test.
func open(t testing.TB, dir string) (*disk.Journal, local.Saved) {
	t.Helper()
	return openSized(t, dir, smallLog)
}

// openSized does with a log of another size.
func openSized(t testing.TB, dir string, size int64) (*disk.Journal, local.Saved) {
	t.Helper()
	j, err := disk.OpenSized(dir, size)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	var s local.Saved
	if err := j.Load(&s); err != nil {
		t.Fatal(err)
	}
	return j, s
}

func shut(t testing.TB, j *disk.Journal) {
	t.Helper()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
}

func add(t testing.TB, j *disk.Journal, changes ...local.Change) {
	t.Helper()
	if err := j.Append(changes); err != nil {
		t.Fatal(err)
	}
}

// reopened is what a folder holds.
func reopened(t testing.TB, dir string) local.Saved {
	t.Helper()
	j, s := open(t, dir)
	shut(t, j)
	return s
}

// copied is a copy of a folder that is open, as a crash would leave it.
func copied(t testing.TB, dir string) string {
	t.Helper()
	to, err := os.MkdirTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	write(t, path(to), read(t, path(dir)))
	write(t, logOf(to), read(t, logOf(dir)))
	return to
}

// set is a change that writes one row.
func set(index uint64, path string, value []byte) local.Change {
	return local.Change{Index: index, Rows: []*local.Row{{Path: path, Value: value, CreateIndex: index, ModifyIndex: index}}}
}

// model is what a journal should hold.
type model struct {
	index, tables, sessionIndex uint64
	rows                        map[string]*local.Row
	graves                      map[string]local.Grave
	sessions                    map[string]*local.Session
}

func newModel() *model {
	return &model{rows: map[string]*local.Row{}, graves: map[string]local.Grave{}, sessions: map[string]*local.Session{}}
}

func (m *model) add(changes ...local.Change) {
	for _, c := range changes {
		m.index = c.Index
		if c.Tables() {
			m.tables = c.Index
		}
		if c.OfSessions() {
			m.sessionIndex = c.Index
		}
		for _, path := range c.Deleted {
			delete(m.rows, path)
		}
		for _, r := range c.Rows {
			m.rows[r.Path] = r
		}
		for _, g := range c.Graves {
			m.graves[g.Path] = g
		}
		for _, path := range c.Reaped {
			delete(m.graves, path)
		}
		for _, s := range c.Sessions {
			m.sessions[s.ID] = s
		}
		for _, id := range c.Ended {
			delete(m.sessions, id)
		}
	}
}

// differs says how what was loaded differs from the model; "" if it does not.
func (m *model) differs(s local.Saved) string {
	if s.Index != m.index || s.Tables != m.tables || s.SessionIndex != m.sessionIndex {
		return fmt.Sprintf("indexes %d, %d, %d, want %d, %d, %d", s.Index, s.Tables, s.SessionIndex, m.index, m.tables, m.sessionIndex)
	}
	rows := slices.SortedFunc(maps.Values(m.rows), func(a, b *local.Row) int { return cmp.Compare(a.Path, b.Path) })
	slices.SortFunc(s.Rows, func(a, b *local.Row) int { return cmp.Compare(a.Path, b.Path) })
	if len(rows) != len(s.Rows) {
		return fmt.Sprintf("%d rows, want %d", len(s.Rows), len(rows))
	}
	for i, want := range rows {
		got := s.Rows[i]
		if !reflect.DeepEqual(want, got) {
			return fmt.Sprintf("row %+v, want %+v", got, want)
		}
	}
	if len(m.graves) != len(s.Graves) {
		return fmt.Sprintf("%d graves, want %d", len(s.Graves), len(m.graves))
	}
	for _, got := range s.Graves {
		want := m.graves[got.Path]
		if got.Index != want.Index || !got.At.Equal(want.At) {
			return fmt.Sprintf("grave %+v, want %+v", got, want)
		}
	}
	if len(m.sessions) != len(s.Sessions) {
		return fmt.Sprintf("%d sessions, want %d", len(s.Sessions), len(m.sessions))
	}
	for _, got := range s.Sessions {
		if want := m.sessions[got.ID]; !reflect.DeepEqual(want, got) {
			return fmt.Sprintf("session %+v, want %+v", got, want)
		}
	}
	return ""
}

func (m *model) check(t testing.TB, s local.Saved) {
	t.Helper()
	if diff := m.differs(s); diff != "" {
		t.Fatal(diff)
	}
}

// sample is a change with some of all.
func sample(index uint64) local.Change {
	return local.Change{
		Index: index,
		Rows: []*local.Row{
			{Path: "a/nil", CreateIndex: index, ModifyIndex: index},
			{Path: "a/empty", Value: []byte{}, Flags: 1<<64 - 1, CreateIndex: index, ModifyIndex: index},
			{Path: "a/large", Value: bytes.Repeat([]byte("large"), 20000), Session: "s1", LockIndex: 7, CreateIndex: 1, ModifyIndex: index},
			{Path: string(bytes.Repeat([]byte("long/"), 10000)), Value: []byte("long"), CreateIndex: index, ModifyIndex: index},
		},
		Graves: []local.Grave{{Path: "", Index: index, At: time.Unix(1700000000, 123).UTC()}, {Path: "b", Index: index}},
		Sessions: []*local.Session{
			{ID: "s1", Name: "n", Node: "node", LockDelay: 15 * time.Second, Behavior: "release", TTL: "10s", NodeChecks: []string{"serfHealth", ""}, ServiceChecks: []local.ServiceCheck{{ID: "c", Namespace: "d"}}, CreateIndex: index, ModifyIndex: index},
			{ID: "s2", NodeChecks: []string{}, LockDelay: -1},
		},
	}
}

func path(dir string) string { return filepath.Join(dir, "store.db") }

// logOf is the path of the log.
func logOf(dir string) string { return filepath.Join(dir, "log") }

func read(t testing.TB, file string) []byte {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func write(t testing.TB, file string, b []byte) {
	t.Helper()
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
}
