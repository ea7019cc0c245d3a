package rollout

import (
	"strings"
	"testing"
	"time"

	"kvexpress/internal/kv"
)

// TestRow proves that a row is read as it was written, and that the store cannot give a hub a row with which it fails.
func TestRow(t *testing.T) {
	f := newFleet(3, share("10%"), share("100%"))
	f.row.SHA256, f.row.Plan.Stages[0].Bake = strings.Repeat("a", 64), Duration(time.Second)
	f.step()
	b, err := f.row.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	entry := func(text string) kv.Entry { return kv.Entry{State: kv.Present, Value: []byte(text)} }
	row, err := ParseRow("hosts", entry(string(b)))
	if err != nil || changed(*row, f.row) || row.Counter != f.row.Counter || row.Plan.Stages[0].Bake != Duration(time.Second) {
		t.Fatal(row, err)
	}
	for _, change := range []string{
		`"stage":0>"stage":3`, `"stage":0>"stage":-1`, `"state":"running">"state":"asleep"`, `"admitted":1>"admitted":-1`,
		`"admitted":1>"admitted":1000000000`, `"format":1>"format":2`, `"key":"hosts">"key":"other"`, `"version":8>"version":0`,
		`"id":"r1">"id":""`, `"stages":[>"none":[`, `a">"`, `{>[`,
	} {
		was, is, _ := strings.Cut(change, ">")
		text := strings.Replace(string(b), was, is, 1)
		if row, err := ParseRow("hosts", entry(text)); err == nil || text == string(b) {
			t.Errorf("%s: %+v", change, row)
		}
	}
	f.row.By = strings.Repeat("x", MaxRow)
	if _, err := f.row.Marshal(); err == nil {
		t.Error("a row of more than MaxRow is written")
	}
}
