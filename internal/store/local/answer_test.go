package local

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// What a transaction answers with is bounded by rows and by bytes, and beyond it nothing is written.
func TestAnswerTooLarge(t *testing.T) {
	e, err := Open(Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}()
	set := func(path string, size int) {
		t.Helper()
		if _, err := e.Apply(t.Context(), Op{Verb: Set, Path: path, Value: make([]byte, size)}); err != nil {
			t.Fatal(err)
		}
	}
	const rows, ops = 2500, 128 // more than MaxAnswerRows, and few bytes
	for n := range rows {
		set(fmt.Sprint("many/", n), 0)
	}
	for n := range 2 {
		set(fmt.Sprint("large/", n), 512<<10)
	}
	times := func(n int, op Op, more ...Op) []Op { return append(slices.Repeat([]Op{op}, n), more...) }
	index := e.View().Index()
	for name, c := range map[string]struct {
		ops  []Op
		rows int // 0: it is too large
	}{
		"all once":                 {times(1, Op{Verb: GetTree}), rows + 2},
		"many rows, often":         {times(100, Op{Verb: GetTree, Path: "many/"}), 100 * rows},
		"many rows, too often":     {times(ops, Op{Verb: GetTree, Path: "many/"}), 0},
		"the largest values":       {times(ops, Op{Verb: Get, Path: "large/0"}), ops},
		"large trees, too often":   {times(ops, Op{Verb: GetTree, Path: "large/"}), 0},
		"too often, then a write":  {times(ops-1, Op{Verb: GetTree, Path: "many/"}, Op{Verb: Set, Path: "new"}), 0},
		"too often, after a write": {append([]Op{{Verb: Set, Path: "new"}}, times(ops-1, Op{Verb: GetTree, Path: "many/"})...), 0},
	} {
		for way, txn := range map[string]func() ([]Row, []OpError, error){
			"read": func() ([]Row, []OpError, error) { return e.View().Txn(c.ops) },
			"done": func() ([]Row, []OpError, error) { return e.Txn(t.Context(), c.ops) },
		} {
			got, failed, err := txn()
			if len(got) != c.rows || len(failed) > 0 || errors.Is(err, ErrAnswerTooLarge) != (c.rows == 0) || c.rows == 0 && !strings.Contains(fmt.Sprint(err), "262144 rows and 134217728 bytes") {
				t.Errorf("%s, %s: %d rows, %v, %v; want %d", name, way, len(got), failed, err, c.rows)
			}
		}
	}
	if e.View().Index() != index {
		t.Error("something was written")
	}
}
