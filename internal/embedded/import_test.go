package embedded

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"kvexpress/internal/kv"
)

func sized(path string, size int) kv.Row { return kvRow(path, strings.Repeat("x", size), 1) }

// shape is a plan in words: the paths of each write.
func shape(writes []ImportStep) string {
	var lines []string
	for _, w := range writes {
		var paths []string
		for _, r := range w.Rows {
			paths = append(paths, r.Path)
		}
		line := strings.Join(paths, " ")
		if w.Put {
			line = "put " + line
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

func TestPlanImport(t *testing.T) {
	lock := "p/locks/" + strings.Repeat("0", 64) + "/web-1"
	for name, test := range map[string]struct {
		rows []kv.Row
		want string
	}{
		"nothing": {nil, ""},
		"locks, others, keys": {
			[]kv.Row{
				sized("p-nodes/web-1", 1), sized("p/.history/a/b/3/data", 1), sized("p/a/b/checksum", 1), sized("p/a/b/data", 1),
				sized("p/a/b/manifest", 1), sized("p/a/b/stop", 1), sized(lock, 1), sized("q", 1),
			},
			lock + " p-nodes/web-1 q p/.history/a/b/3/data p/a/b/data p/a/b/checksum p/a/b/manifest p/a/b/stop",
		},
		"a history that is too large": {
			[]kv.Row{
				sized("p/.history/a/10/data", 200<<10), sized("p/.history/a/10/manifest", 1), sized("p/.history/a/9/data", 200<<10),
				sized("p/.history/a/9/manifest", 1), sized("p/a/checksum", 64), sized("p/a/data", 300<<10), sized("p/a/manifest", 500),
				sized("p/a/stop", 3),
			},
			"p/.history/a/9/data p/.history/a/9/manifest\np/.history/a/10/data p/.history/a/10/manifest\np/a/data p/a/checksum " +
				"p/a/manifest p/a/stop",
		},
		"data that is too large": {
			[]kv.Row{sized("p/a/checksum", 64), sized("p/a/data", kv.MaxValue), sized("p/a/stop", 3)},
			"put p/a/data\np/a/checksum p/a/stop",
		},
		"data that is too large beside others": {
			[]kv.Row{sized("p/a/checksum", 64), sized("p/a/data", 392_500), sized("p/a/manifest", 2000)},
			"p/a/data\np/a/checksum p/a/manifest",
		},
		"other rows": {
			[]kv.Row{sized("data", 1), sized("p/.history/odd", 1), sized("p/locks/x", 1), sized("z", kv.MaxValue), sized("zz", 1)},
			"data p/.history/odd p/locks/x\nput z\nzz",
		},
	} {
		if got := shape(PlanImport(test.rows)); got != test.want {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, test.want)
		}
	}
}

// A key whose rows would be cut by the end of a transaction begins the next one, with
// its history.
func TestPlanImportCutsBetweenKeys(t *testing.T) {
	var rows []kv.Row
	for i := range kv.MaxOps - 2 {
		rows = append(rows, sized(fmt.Sprintf("a/%02d", i), 1))
	}
	rows = append(rows, sized("p/.history/k/1/data", 1), sized("p/.history/k/1/manifest", 1), sized("p/k/checksum", 1),
		sized("p/k/data", 1))
	writes := PlanImport(rows)
	if len(writes) != 2 || len(writes[0].Rows) != kv.MaxOps-2 || len(writes[1].Rows) != 4 {
		t.Errorf("the rows are written as\n%s", shape(writes))
	}
}

// Every row is written once, all writes fit, and at no time is a key's data of one
// version beside the checksum of another, unless no transaction could hold both.
func TestPlanImportHolds(t *testing.T) {
	sizes := rapid.SampledFrom([]int{0, 1, 64, 9 << 10, 100 << 10, 200 << 10, kv.MaxStored, 393_000, kv.MaxValue})
	name := rapid.SampledFrom([]string{"a", "a/b", "<&>\u2028", strings.Repeat("k", kv.MaxKeyLen)})
	rapid.Check(t, func(t *rapid.T) {
		all := map[string]kv.Row{}
		add := func(path string, size int) { all[path] = sized(path, size) }
		for range rapid.IntRange(0, 6).Draw(t, "keys") {
			dir := "kvexpress/" + name.Draw(t, "key")
			if rapid.Bool().Draw(t, "other prefix") {
				dir = "x/y/" + name.Draw(t, "key")
			}
			add(dir+"/data", sizes.Draw(t, "data"))
			add(dir+"/checksum", 64)
			if rapid.Bool().Draw(t, "ours") {
				add(dir+"/manifest", 600)
				prefix, key, _ := strings.Cut(dir, "/")
				for v := range rapid.IntRange(0, 10).Draw(t, "versions") {
					add(fmt.Sprintf("%s/.history/%s/%d/data", prefix, key, v+5), sizes.Draw(t, "past"))
					add(fmt.Sprintf("%s/.history/%s/%d/manifest", prefix, key, v+5), 600)
				}
			}
		}
		for i := range rapid.IntRange(0, 150).Draw(t, "others") {
			add(fmt.Sprintf("other/%d", i), rapid.IntRange(0, 20).Draw(t, "size"))
		}
		rows := make([]kv.Row, 0, len(all))
		for _, r := range all {
			rows = append(rows, r)
		}
		rows, err := inOrder(rows)
		if err != nil {
			t.Fatal(err)
		}
		store := New()
		written := map[string]int{} // by path, in which write
		for i, w := range PlanImport(rows) {
			for _, r := range w.Rows {
				if _, twice := written[r.Path]; twice {
					t.Fatalf("%s is written twice", r.Path)
				}
				written[r.Path] = i
			}
			if w.Put {
				if err := store.Put(t.Context(), w.Rows[0].Path, w.Rows[0].Value, w.Rows[0].Flags); err != nil || len(w.Rows) != 1 {
					t.Fatalf("a put of %d rows: %v", len(w.Rows), err)
				}
				continue
			}
			if _, err := store.Commit(t.Context(), w.Ops()); err != nil {
				t.Fatal(err)
			}
			if size := bodySize(t, w); size > kv.MaxTxnBody {
				t.Fatalf("write %d has a body of %d bytes", i, size)
			}
		}
		got, err := store.List(t.Context(), kv.Default, "", 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		wantSame(t, got.Rows, rows)
		for path, at := range written {
			dir, ok := strings.CutSuffix(path, "/checksum")
			if !ok {
				continue
			}
			data := written[dir+"/data"]
			if len(all[dir+"/data"].Value) <= kv.MaxStored && data != at {
				t.Errorf("%s: its data is written in %d, its checksum in %d", dir, data, at)
			}
			if data > at {
				t.Errorf("%s: its data is written after its checksum", dir)
			}
			if m, ours := written[dir+"/manifest"]; ours && m != at {
				t.Errorf("%s: its manifest is written in %d, its checksum in %d", dir, m, at)
			}
			prefix, key, _ := strings.Cut(dir, "/")
			for past, when := range written {
				if strings.HasPrefix(past, prefix+"/.history/"+key+"/") && strings.Count(past, "/") == strings.Count(dir, "/")+3 &&
					when > at {
					t.Errorf("%s is written after the live version", past)
				}
			}
		}
	})
}

// bodySize is the size of the request that store/consul makes of a transaction.
func bodySize(t *rapid.T, w ImportStep) int {
	type step struct {
		Verb, Key string
		Value     []byte `json:",omitempty"`
		Flags     uint64 `json:",omitempty"`
	}
	var ops []struct{ KV step }
	for _, op := range w.Ops() {
		ops = append(ops, struct{ KV step }{step{"set", op.Path, op.Value, 1<<64 - 1}})
	}
	b, err := json.Marshal(ops)
	if err != nil {
		t.Fatal(err)
	}
	return len(b)
}

// Ten thousand small rows take few transactions.
func TestPlanImportIsFull(t *testing.T) {
	var rows []kv.Row
	for i := range 10_000 {
		rows = append(rows, sized(fmt.Sprintf("k/%05d", i), 10))
	}
	if got, want := len(PlanImport(rows)), (10_000+kv.MaxOps-1)/kv.MaxOps; got != want {
		t.Errorf("it takes %d transactions, want %d", got, want)
	}
	slices.Reverse(rows)
	if sorted, err := inOrder(rows); err != nil || sorted[0].Path != "k/00000" {
		t.Errorf("sorted they begin with %s, %v", sorted[0].Path, err)
	}
}
