package gate

import (
	"errors"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/kv"
)

func present(value string) kv.Entry {
	return kv.Entry{State: kv.Present, Value: []byte(value), Index: 7}
}

func absent() kv.Entry { return kv.Entry{State: kv.Absent} }

func TestNotLocked(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	until := func(seconds uint64) kv.Entry {
		e := present("why")
		e.Flags = seconds
		return e
	}
	for name, test := range map[string]struct {
		rows   []kv.Entry
		locked bool
		denied bool
	}{
		"no lock":                     {rows: []kv.Entry{absent()}},
		"an empty lock is none":       {rows: []kv.Entry{present("")}},
		"locked":                      {rows: []kv.Entry{present("why")}, locked: true},
		"locked under its other name": {rows: []kv.Entry{absent(), present("why")}, locked: true},
		"not allowed to see":          {rows: []kv.Entry{{}}, denied: true},
		"one row is not to be seen":   {rows: []kv.Entry{absent(), {}}, denied: true},
		"until later":                 {rows: []kv.Entry{until(1_000_001)}, locked: true},
		"until now":                   {rows: []kv.Entry{until(1_000_000)}},
		"over":                        {rows: []kv.Entry{until(5)}},
		"flags beyond all time":       {rows: []kv.Entry{until(1<<64 - 1)}, locked: true},
		"set then, until later":       {rows: []kv.Entry{until(999_999<<32 | 1_000_001)}, locked: true},
		"set then, until now":         {rows: []kv.Entry{until(999_999<<32 | 1_000_000)}},
		"set then, for ever":          {rows: []kv.Entry{until(5 << 32)}, locked: true},
		"set by a clock ahead of us":  {rows: []kv.Entry{until(2_000_000<<32 | 2_000_001)}, locked: true},
	} {
		err := NotLocked("/f", now, test.rows...)
		var locked *Locked
		if errors.As(err, &locked) != test.locked || errors.Is(err, kv.ErrDenied) != test.denied ||
			(err != nil) != (test.locked || test.denied) {
			t.Errorf("%s: %v", name, err)
		}
		if test.locked && (locked.Reason != "why" || locked.File != "/f") {
			t.Errorf("%s: %+v", name, locked)
		}
	}
}

// A stop and a lock say since when, and until when.
func TestTimesOfStopsAndLocks(t *testing.T) {
	row := present("why")
	row.Flags = 999_999<<32 | 1_000_001
	var locked *Locked
	if err := NotLocked("/f", time.Unix(1_000_000, 0), row); !errors.As(err, &locked) || locked.Since.Unix() != 999_999 ||
		locked.Until.Unix() != 1_000_001 {
		t.Errorf("%+v", err)
	} else if !strings.Contains(err.Error(), `/f is locked: "why" (until 1970-01-12T13:46:41Z);`) {
		t.Error(err)
	}
	row.Flags = 0
	if err := NotLocked("/f", time.Now(), row); !errors.As(err, &locked) || !locked.Since.IsZero() || !locked.Until.IsZero() ||
		strings.Contains(err.Error(), "until") {
		t.Errorf("%+v", err)
	}
	// A stop never ends by itself, whatever its flags say.
	row.Flags = 999_999<<32 | 5
	var stopped *Stopped
	if err := NotStopped("hosts", row); !errors.As(err, &stopped) || stopped.Since.Unix() != 999_999 {
		t.Errorf("%+v", err)
	}
}

func TestOlder(t *testing.T) {
	v := func(lineage string, version uint64) *kv.Manifest {
		return &kv.Manifest{Lineage: lineage, Version: version}
	}
	for name, test := range map[string]struct {
		live  *kv.Manifest
		older bool
	}{
		"older": {v("a", 4), true}, "the same": {v("a", 5), false}, "newer": {v("a", 6), false},
		"another lineage": {v("b", 1), false}, "unmanaged": {nil, false},
	} {
		if Older("a", 5, test.live) != test.older {
			t.Errorf("%s: not %t", name, test.older)
		}
	}
	if Older("", 5, v("", 4)) {
		t.Error("without a lineage nothing is older")
	}
}
