package disk_test

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"kvexpress/internal/embedded"
	"kvexpress/internal/embedded/disk"
)

// times is n in a soak and a tenth of it else.
func times(n int) int {
	if os.Getenv("KVEXPRESS_SOAK") == "1" {
		return n
	}
	return max(1, n/10)
}

// open opens and loads a folder. It is closed with the test.
func open(t testing.TB, dir string) (*disk.Journal, embedded.Saved) {
	t.Helper()
	j, err := disk.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	var s embedded.Saved
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

func add(t testing.TB, j *disk.Journal, changes ...embedded.Change) {
	t.Helper()
	if err := j.Append(changes); err != nil {
		t.Fatal(err)
	}
}

// reopened is what a folder holds.
func reopened(t testing.TB, dir string) embedded.Saved {
	t.Helper()
	j, s := open(t, dir)
	shut(t, j)
	return s
}

// set is a change that writes one row.
func set(index uint64, path string, value []byte) embedded.Change {
	return embedded.Change{Index: index, Rows: []*embedded.Row{{Path: path, Value: value, CreateIndex: index, ModifyIndex: index}}}
}

// model is what a journal should hold.
type model struct {
	index, deletion uint64
	rows            map[string]embedded.Row
}

func newModel(changes ...embedded.Change) *model {
	m := &model{rows: map[string]embedded.Row{}}
	m.add(changes...)
	return m
}

func (m *model) add(changes ...embedded.Change) {
	for _, c := range changes {
		m.index = c.Index
		for _, path := range c.Deleted {
			delete(m.rows, path)
			m.deletion = c.Index
		}
		for _, r := range c.Rows {
			m.rows[r.Path] = *r
		}
	}
}

// differs says how the loaded content differs from the model; "" if it does not.
func (m *model) differs(s embedded.Saved) string {
	if s.Index != m.index || s.Deletion != m.deletion || len(s.Rows) != len(m.rows) {
		return fmt.Sprintf("indexes %d, %d, %d rows; want %d, %d, %d", s.Index, s.Deletion, len(s.Rows), m.index, m.deletion, len(m.rows))
	}
	for _, got := range s.Rows {
		if want := m.rows[got.Path]; !reflect.DeepEqual(&want, got) {
			return fmt.Sprintf("row %+v, want %+v", got, want)
		}
	}
	return ""
}

func (m *model) check(t testing.TB, s embedded.Saved) {
	t.Helper()
	if diff := m.differs(s); diff != "" {
		t.Fatal(diff)
	}
}

func path(dir string) string { return filepath.Join(dir, "store.db") }

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
