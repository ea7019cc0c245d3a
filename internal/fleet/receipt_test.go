package fleet

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"kvexpress/internal/outcome"
	"kvexpress/internal/record"
)

func start() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

// sha is like a SHA-256: it does not compress.
func sha(n int) string { return record.Checksum(fmt.Appendf(nil, "%d", n)) }

// sized is a receipt of so many targets.
func sized(targets int, detail string) Receipt {
	r := Receipt{Format: Format, Node: "web-1", Sent: start(), Agent: &Agent{Version: "2.0.0", Every: Millis(time.Minute)}}
	for i := range targets {
		r.Targets = append(r.Targets, Target{
			By: ByAgent, Key: fmt.Sprintf("team/key-%d", i), File: fmt.Sprintf("/etc/app/file-%05d", i),
			Lineage: sha(1)[:32], Version: 7, SHA256: sha(i), Outcome: outcome.Converged, Since: Millis(time.Hour), Detail: detail,
			Placed: &Placed{Age: Millis(time.Hour), First: true, Steps: Steps{Install: Millis(time.Second)}},
		})
	}
	return r
}

func marshal(t testing.TB, r Receipt) (value []byte, flags uint64) {
	t.Helper()
	value, flags, err := r.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if len(value) > MaxStored {
		t.Fatalf("it has %d bytes, at most %d are allowed", len(value), MaxStored)
	}
	return value, flags
}

func parse(t testing.TB, r Receipt) Receipt {
	t.Helper()
	value, flags := marshal(t, r)
	got, err := ParseReceipt(r.Node, value, flags)
	if err != nil {
		t.Fatalf("it cannot be read again: %v", err)
	}
	return got
}

func lengths() *rapid.Generator[Millis] {
	return rapid.Custom(func(t *rapid.T) Millis { // as they are written: to the microsecond
		return Millis(time.Duration(rapid.Int64Range(0, int64(century/time.Microsecond)).Draw(t, "µs")) * time.Microsecond)
	})
}

func drawnTargets() *rapid.Generator[Target] {
	return rapid.Custom(func(t *rapid.T) Target {
		target := Target{
			By: rapid.SampledFrom([]string{ByAgent, ByOut}).Draw(t, "by"), Key: rapid.StringMatching(`[a-z]{1,3}`).Draw(t, "key"),
			File:    "/etc/" + rapid.StringMatching(`[a-d]`).Draw(t, "file"),
			Outcome: rapid.SampledFrom(outcome.Reported()).Draw(t, "outcome"),
			Version: rapid.Uint64().Draw(t, "version"), SHA256: sha(rapid.IntRange(0, 3).Draw(t, "sha")),
			Since:  lengths().Draw(t, "since"),
			Detail: rapid.StringN(0, 40, MaxDetail).Draw(t, "detail"), ExecPending: rapid.Bool().Draw(t, "pending"),
		}
		if rapid.Bool().Draw(t, "ran") {
			target.Exec = &Exec{Exit: rapid.IntRange(-1, 255).Draw(t, "exit"), Failures: rapid.IntRange(0, 9).Draw(t, "failures")}
		}
		if rapid.Bool().Draw(t, "placed") {
			target.Placed = &Placed{Age: lengths().Draw(t, "age"), First: rapid.Bool().Draw(t, "first"),
				Steps: Steps{Wait: lengths().Draw(t, "wait"), Exec: lengths().Draw(t, "exec")}}
		}
		return target
	})
}

func TestReceiptComesBackAsItWas(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := Receipt{
			Format: Format, Node: rapid.StringMatching(`[a-z0-9.-]{1,20}`).Draw(t, "node"),
			Omitted: rapid.IntRange(0, 9).Draw(t, "omitted"),
			Sent:    start().Add(time.Duration(rapid.Int64().Draw(t, "ns")) / 100),
			Targets: rapid.SliceOfN(drawnTargets(), 0, 60).Draw(t, "targets"),
		}
		if rapid.Bool().Draw(t, "agent") {
			r.Agent = &Agent{Version: "2.0.0", Every: Millis(5 * time.Minute), Age: lengths().Draw(t, "age"),
				Outage: &Outage{Lasted: lengths().Draw(t, "lasted")}}
		}
		value, flags, err := r.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if packed := flags == record.Zstd.Flags(); packed != (bytes.HasPrefix(value, []byte("\x28\xb5\x2f\xfd"))) {
			t.Fatalf("flags %d for %.8q", flags, value)
		}
		got, err := ParseReceipt(r.Node, value, flags)
		if err != nil {
			t.Fatal(err)
		}
		// A text that is no UTF-8 is written as one that is.
		for i := range r.Targets {
			r.Targets[i].Detail = strings.ToValidUTF8(r.Targets[i].Detail, "\ufffd")
		}
		want, _ := json.Marshal(r)
		have, _ := json.Marshal(got)
		if !bytes.Equal(want, have) {
			t.Fatalf("came back as\n%s\nwas\n%s", have, want)
		}
	})
}

// A receipt of any size is made to fit: texts and steps go first, then targets from
// the end, and their number is in Omitted.
func TestReceiptFits(t *testing.T) {
	if got, want := parse(t, sized(300, "short")), sized(300, "short"); !reflect.DeepEqual(got, want) {
		t.Errorf("%d of %d targets, omitted %d", len(got.Targets), len(want.Targets), got.Omitted)
	}
	long := parse(t, sized(1, strings.Repeat("ä", MaxDetail))).Targets[0].Detail
	if len(long) > MaxDetail || !strings.HasSuffix(long, "ä…") {
		t.Errorf("a text of %d bytes ends with %q", len(long), long[len(long)-8:])
	}
	r := sized(1000, "")
	for i := range r.Targets {
		random := func() Millis { return Millis(rand.N(time.Hour)) }
		r.Targets[i].Placed.Steps = Steps{Wait: random(), Exec: random(), Install: random()}
		r.Targets[i].Detail = sha(i) + sha(i+5000)
	}
	got := parse(t, r)
	if len(got.Targets) != 1000 || got.Omitted != 0 {
		t.Fatalf("%d targets are left, %d omitted", len(got.Targets), got.Omitted)
	}
	for i, target := range got.Targets {
		want := r.Targets[i]
		want.Detail, want.Placed = "", &Placed{Age: want.Placed.Age, First: true}
		if !reflect.DeepEqual(target, want) {
			t.Fatalf("%+v, want %+v", target, want)
		}
	}
	if r.Targets[0].Detail == "" || r.Targets[0].Placed.Steps == (Steps{}) {
		t.Error("the receipt itself was changed")
	}
	for _, n := range []int{MaxTargets, MaxTargets + 1} {
		got := parse(t, sized(n, ""))
		if len(got.Targets) == 0 || len(got.Targets)+got.Omitted != n || got.Targets[0].File != "/etc/app/file-00000" {
			t.Errorf("of %d targets %d are left, and %d omitted", n, len(got.Targets), got.Omitted)
		}
	}
	empty := Receipt{Node: "web-1", Sent: start(), Targets: make([]Target, MaxTargets+1)}
	if got := parse(t, empty); len(got.Targets) != MaxTargets || got.Omitted != 1 {
		t.Errorf("%d targets, %d omitted", len(got.Targets), got.Omitted)
	}
	// Another program may have written the texts that a node keeps: no target is left out for that.
	noise := strings.Repeat("x", 4000*64)
	r = sized(2, "")
	r.Agent.Version = noise
	if got := parse(t, r); len(got.Targets) != 2 || len(got.Agent.Version) > maxVersion+len("…") {
		t.Errorf("%d targets; the version has %d bytes", len(got.Targets), len(got.Agent.Version))
	}
	random := ""
	for i := range 4000 {
		random += sha(i)
	}
	if _, _, err := (Receipt{Node: random, Sent: start()}).Marshal(); err == nil {
		t.Error("a receipt that cannot fit is taken")
	}
}

// This program can read the receipts that it writes, whatever the lengths of time.
func TestReceiptWithLengthsThatAreNone(t *testing.T) {
	for _, d := range []time.Duration{-1, -time.Hour, math.MinInt64, math.MaxInt64, century + time.Hour} {
		r := sized(1, "")
		r.Targets[0].Since, r.Targets[0].Placed.Age = Millis(d), Millis(d)
		r.Agent.Age, r.Agent.Every, r.Agent.Outage = Millis(d), Millis(d), &Outage{Ended: Millis(d), Lasted: Millis(d)}
		if got := parse(t, r); got.Agent.Outage.Ended < 0 || got.Agent.Outage.Ended > Millis(century) {
			t.Errorf("%v is %v", d, time.Duration(got.Agent.Outage.Ended))
		}
	}
}

func TestParseReceiptRefuses(t *testing.T) {
	good := `"format":1,"node":"web-1","sent":"2026-03-01T12:00:00Z"`
	pack := func(s string) string {
		b, err := record.Pack([]byte(s))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	spaces := strings.Repeat(" ", maxPlain)
	for name, tt := range map[string]struct {
		value string
		flags uint64
		want  string // in the error
	}{
		"nothing":             {"", 0, "JSON"},
		"not JSON":            {"<html>", 0, "invalid character"},
		"a list":              {`[]`, 0, "cannot unmarshal"},
		"null":                {`null`, 0, "no format"},
		"half":                {`{` + good, 0, "JSON"},
		"more than one":       {`{` + good + `}{}`, 0, "invalid character"},
		"no format":           {`{"node":"web-1","sent":"2026-03-01T12:00:00Z"}`, 0, "no format"},
		"a negative format":   {strings.Replace(`{`+good+`}`, "1", "-1", 1), 0, "no format"},
		"a newer format":      {strings.Replace(`{`+good+`}`, "1", "2", 1), 0, "use the newer one"},
		"another node":        {strings.Replace(`{`+good+`}`, "web-1", "web-2", 1), 0, `"web-2"`},
		"a node like it":      {strings.Replace(`{`+good+`}`, "web-1", "WEB-1", 1), 0, `"WEB-1"`},
		"a node in colour":    {strings.Replace(`{`+good+`}`, "web-1", `\u001b[31m`, 1), 0, `\x1b`},
		"no node":             {`{"format":1,"sent":"2026-03-01T12:00:00Z"}`, 0, "it is of"},
		"no time":             {`{"format":1,"node":"web-1"}`, 0, "it has no time"},
		"a time that is not":  {`{"format":1,"node":"web-1","sent":"yesterday"}`, 0, "yesterday"},
		"too large":           {`{` + good + `}` + strings.Repeat(" ", MaxStored), 0, "bytes"},
		"a value of Consul":   {strings.Repeat("x", 512<<10), 0, "bytes"},
		"unknown flags":       {`{` + good + `}`, 77, "flags 77"},
		"not compressed":      {`{` + good + `}`, 2, "damaged"},
		"damaged":             {pack(`{` + good + `}`)[:20], 2, "damaged"},
		"a bomb":              {pack(`{` + good + `}` + spaces), 2, "larger"},
		"a second frame":      {pack(`{`+good+strings.Repeat(" ", 5000)) + pack(`}`), 2, "larger"},
		"many nulls":          {pack(`{` + good + `,"targets":[` + strings.Repeat(`null,`, maxPlain/6) + `null]}`), 2, "targets"},
		"deep":                {pack(`{` + good + `,"x":` + strings.Repeat("[", 2<<20) + `}`), 2, "depth"},
		"deep in a target":    {pack(`{` + good + `,"targets":[{"x":` + strings.Repeat("[", 1<<20) + `]}`), 2, "depth"},
		"too many targets":    {pack(`{` + good + `,"targets":[` + strings.Repeat(`{},`, MaxTargets) + `{}]}`), 2, "targets"},
		"targets in capitals": {pack(`{` + good + `,"TARGETS":[` + strings.Repeat(`{},`, MaxTargets) + `{}]}`), 2, "targets"},
		"no list of targets":  {`{` + good + `,"targets":{}}`, 0, "targets"},
		"a negative length":   {`{` + good + `,"targets":[{"since_ms":-0.001}]}`, 0, "not a length"},
		"a length of ages":    {`{` + good + `,"agent":{"age_ms":1e13}}`, 0, "not a length"},
		"an endless length":   {`{` + good + `,"agent":{"every_ms":1e999}}`, 0, "1e999"},
		"a text for a length": {`{` + good + `,"agent":{"every_ms":"5"}}`, 0, "not a length of time"},
		"a negative version":  {`{` + good + `,"targets":[{"version":-1}]}`, 0, "version"},
		"a negative count":    {`{` + good + `,"omitted":-1}`, 0, "omitted"},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := ParseReceipt("web-1", []byte(tt.value), tt.flags)
			if !errors.Is(err, ErrReceipt) || !strings.Contains(err.Error(), tt.want) || len(err.Error()) > 300 {
				t.Errorf("%v, want %q", err, tt.want)
			}
			if !reflect.DeepEqual(r, Receipt{}) {
				t.Errorf("beside the error is %+v", r)
			}
		})
	}
	// The control: valid receipts.
	for _, value := range []string{`{` + good + `}`, `{` + good + `,"new":[[]],"targets":null}`, `{` + good + `,"targets":[{}]}`} {
		if _, err := ParseReceipt("web-1", []byte(value), 0); err != nil {
			t.Error(err)
		}
	}
}

// A few hundred bytes from a bad node do not fill the memory of a status: 1.4 million
// targets are refused before they are decoded.
func TestParseReceiptIsCheapToRefuse(t *testing.T) {
	plain := `{"format":1,"node":"web-1","sent":"2026-03-01T12:00:00Z","targets":[` + strings.Repeat("{},", (maxPlain-200)/3) +
		`{}]}`
	value, err := record.Pack([]byte(plain))
	if err != nil || len(value) > MaxStored {
		t.Fatalf("%d bytes, %v", len(value), err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := ParseReceipt("web-1", value, record.Zstd.Flags()); !errors.Is(err, ErrReceipt) {
		t.Error(err)
	}
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 64<<20 {
		t.Errorf("it took %d MiB", used>>20)
	}
}

// Any bytes in the store: an error that fits on a line, or a receipt within all
// limits, which is the same once it was written again.
func FuzzParseReceipt(f *testing.F) {
	for _, r := range []Receipt{{Node: "web-1", Sent: start()}, sized(3, "why"), sized(100, "")} {
		value, flags := marshal(f, r)
		f.Add("web-1", value, flags)
	}
	f.Add("web-1", []byte(`{"format":1,"node":"web-1","sent":"0001-01-01T00:00:01Z","agent":{"every_ms":3e9,"age_ms":3e12}}`),
		uint64(0))
	f.Fuzz(func(t *testing.T, node string, value []byte, flags uint64) {
		r, err := ParseReceipt(node, value, flags)
		if err != nil {
			if !errors.Is(err, ErrReceipt) || !reflect.DeepEqual(r, Receipt{}) {
				t.Fatalf("%+v, %v", r, err)
			}
			return
		}
		if r.Node != node || r.Format != Format || r.Sent.IsZero() || len(r.Targets) > MaxTargets || len(value) > MaxStored {
			t.Fatalf("taken: %+v", r)
		}
		again, flags, err := r.Marshal()
		if err != nil {
			t.Fatalf("it cannot be written again: %v", err)
		}
		back, err := ParseReceipt(node, again, flags)
		if err != nil {
			t.Fatalf("it cannot be read again: %v", err)
		}
		if len(back.Targets)+back.Omitted != len(r.Targets)+r.Omitted || !back.Sent.Equal(r.Sent) {
			t.Fatalf("%+v comes back as %+v", r, back)
		}
		// Any receipt gets an outcome.
		Examine(Roster{Nodes: []Node{{Name: node, Receipt: r, Index: 5}}, Read: start()}, Live{Key: "hosts", Exists: true},
			Options{})
		merge(r, Receipt{Sent: start(), Targets: []Target{{File: "/x"}}}, nil, start())
	})
}
