package record

import (
	"bytes"
	"errors"
	"testing"

	"kvexpress/internal/gate"
	"kvexpress/internal/kv"
)

func there(value string, flags uint64) kv.Entry {
	return kv.Entry{State: kv.Present, Value: []byte(value), Flags: flags, Index: 1}
}

func manifestOf(t testing.TB, plain string, change func(*kv.Manifest)) kv.Entry {
	t.Helper()
	m := kv.Manifest{Format: 1, Lineage: "l", Version: 7, Key: "hosts", SHA256: Checksum([]byte(plain))}
	if change != nil {
		change(&m)
	}
	b, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return there(string(b), 0)
}

func TestVerifyAndDecide(t *testing.T) {
	const a, oldGzip = "a\n", "H4sIAAAAAAAC/0vkAgAHoerdAgAAAA=="
	none := kv.Entry{State: kv.Absent}
	sum := func(s string) kv.Entry { return there(Checksum([]byte(s)), 0) }
	brotli, err := Encode(Brotli, []byte(a))
	if err != nil {
		t.Fatal(err)
	}
	ours := manifestOf(t, a, nil)
	longer, err := Encode(Brotli, []byte("longer\n"))
	if err != nil {
		t.Fatal(err)
	}
	sized := manifestOf(t, a, func(m *kv.Manifest) { m.Size = int64(len(a)) })
	tests := map[string]struct {
		data, checksum, manifest kv.Entry
		state                    State
		torn                     bool
		version                  uint64
		known                    bool
		same, other              Decision // for the bytes a, for others
	}{
		"absent":          {none, none, none, Absent, false, 0, true, Replace, Replace},
		"managed":         {there(a, 0), sum(a), ours, Managed, false, 7, true, Keep, Replace},
		"managed, brotli": {there(string(brotli), 1), sum(a), ours, Managed, false, 7, true, Keep, Replace},
		"1.x alone":       {there(a, 0), sum(a), none, Unmanaged, false, 0, true, Keep, Replace},
		"1.x, newline": {there(a, 0), there(Checksum([]byte(a))+"\n", 0), none, Unmanaged, false, 0, true, Keep,
			Replace},
		"1.14 -z":                     {there(oldGzip, 0), sum(a), none, Unmanaged, false, 0, true, Keep, Replace},
		"gzip as it is":               {there(oldGzip, 0), sum(oldGzip), none, Unmanaged, false, 0, true, Replace, Replace},
		"1.x after us":                {there(a, 0), sum(a), manifestOf(t, "b", nil), Unmanaged, false, 0, true, Keep, Replace},
		"1.x between":                 {there("b", 0), sum(a), ours, Damaged, true, 7, true, Heal, Replace},
		"more than the manifest says": {there(string(longer), 1), sum(a), sized, Damaged, true, 7, true, Heal, Replace},
		"1.x after us, longer":        {there(string(longer), 1), sum("longer\n"), sized, Unmanaged, false, 0, true, Replace, Replace},
		"1.x between, new":            {there(a, 0), none, none, Damaged, true, 0, true, Heal, Replace},
		"data gone":                   {none, sum(a), ours, Damaged, false, 7, true, Heal, Replace},
		"data gone, 1.x":              {none, sum(a), none, Damaged, false, 0, true, Heal, Replace},
		"data no brotli":              {there("x", 1), sum(a), ours, Damaged, false, 7, true, Heal, Replace},
		"checksum gone":               {there(a, 0), none, ours, Damaged, true, 7, true, Heal, Replace},
		"manifest alone":              {none, none, ours, Damaged, false, 7, true, Heal, Replace},
		"manifest bad":                {there(a, 0), sum(a), there("{", 0), Damaged, false, 0, false, Heal, Replace},
		"manifest of another": {there(a, 0), sum(a), manifestOf(t, a, func(m *kv.Manifest) { m.Key = "x" }), Damaged, false, 0,
			false, Heal, Replace},
		"lineage beyond reason": {there(a, 0), sum(a),
			manifestOf(t, a, func(m *kv.Manifest) { m.Lineage = string(make([]byte, 65)) }), Damaged, false, 0, false, Heal, Replace},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s, err := Verify("hosts", tt.data, tt.checksum, tt.manifest)
			if err != nil {
				t.Fatal(err)
			}
			if s.State != tt.state || s.Torn != tt.torn || (s.Why != "") != (tt.state == Damaged) {
				t.Errorf("state %s, torn %v, why %q", s.State, s.Torn, s.Why)
			}
			if v, known := s.Version(); v != tt.version || known != tt.known {
				t.Errorf("version %d, %v", v, known)
			}
			if got := s.Decide(Checksum([]byte(a))); got != tt.same {
				t.Errorf("decision for the same bytes: %d, want %d", got, tt.same)
			}
			if got := s.Decide(Checksum([]byte("c"))); got != tt.other {
				t.Errorf("decision for other bytes: %d, want %d", got, tt.other)
			}
		})
	}
}

func TestVerifyRefuses(t *testing.T) {
	ok, denied := there("x", 0), kv.Entry{}
	for i := range 3 {
		rows := []kv.Entry{ok, ok, ok}
		rows[i] = denied
		if _, err := Verify("hosts", rows[0], rows[1], rows[2]); !errors.Is(err, kv.ErrDenied) {
			t.Errorf("row %d denied: %v", i, err)
		}
	}
	for name, rows := range map[string][2]kv.Entry{
		"format":   {ok, there(`{"format":2}`, 0)},
		"requires": {ok, there(`{"format":1,"requires":["chunks"]}`, 0)},
		"chunks":   {there("x", 3), kv.Entry{State: kv.Absent}},
		"flags":    {there("x", 42), kv.Entry{State: kv.Absent}},
	} {
		_, err := Verify("hosts", rows[0], ok, rows[1])
		if r, ok := errors.AsType[*gate.Refusal](err); !ok || r.Reason != gate.NeedsNewer {
			t.Errorf("%s: %v", name, err)
		}
		if t.Failed() {
			t.Fatal(name)
		}
	}
}

func TestClaimed(t *testing.T) {
	sum, other := Checksum([]byte("content\n")), Checksum([]byte("other\n"))
	m := kv.Manifest{Format: 1, Lineage: "l", Version: 3, PublishID: "p", Key: "hosts", SHA256: sum, Size: 8, Lines: 1}
	b, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	manifest := there(string(b), 0)
	none := kv.Entry{State: kv.Absent}
	for name, test := range map[string]struct {
		checksum, manifest kv.Entry
		sha                string
		version            uint64 // 0: no manifest counts
		newer              bool
	}{
		"managed":                    {checksum: there(sum, 0), manifest: manifest, sha: sum, version: 3},
		"as 1.x may have written it": {checksum: there(sum+"\n", 0), manifest: none, sha: sum},
		"1.x wrote last":             {checksum: there(other, 0), manifest: manifest, sha: other},
		"no checksum":                {checksum: none, manifest: manifest},
		"no checksum that is one":    {checksum: there("x", 0), manifest: none},
		"nothing":                    {checksum: none, manifest: none},
		"a broken manifest":          {checksum: there(sum, 0), manifest: there("{", 0), sha: sum},
		"a newer manifest":           {checksum: there(sum, 0), manifest: there(`{"format":2}`, 0), newer: true},
	} {
		sha, got, err := Claimed("hosts", test.checksum, test.manifest)
		var refusal *gate.Refusal
		if test.newer {
			if !errors.As(err, &refusal) || refusal.Reason != gate.NeedsNewer {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err != nil || sha != test.sha || (got != nil) != (test.version > 0) || (got != nil && got.Version != test.version) {
			t.Errorf("%s: %q, %+v, %v", name, sha, got, err)
		}
	}
}

func TestInstallable(t *testing.T) {
	whole := func(content string) Live {
		return Live{State: Managed, Plain: []byte(content), SHA256: Checksum([]byte(content))}
	}
	for name, test := range map[string]struct {
		live    Live
		lines   int
		reason  gate.Reason // "" and not missing: delivered
		missing bool
	}{
		"whole":                           {live: whole("a\nb\n"), lines: 2},
		"the last line without a newline": {live: whole("a\nb"), lines: 1},
		"too short":                       {live: whole("a\nb\n"), lines: 3, reason: gate.TooShort},
		"empty":                           {live: whole(""), reason: gate.Empty},
		"absent":                          {live: Live{State: Absent}, missing: true},
		"other bytes than the checksum's": {live: Live{State: Damaged, Torn: true, Why: "w"}, reason: gate.Mismatch},
		"unreadable":                      {live: Live{State: Damaged, Why: "w"}, reason: gate.Corrupt},
		"whole, beside a damaged manifest": {live: func() Live {
			s := whole("a\n")
			s.State, s.Why = Damaged,
				"w"
			return s
		}(), lines: 1},
	} {
		err := test.live.Installable(test.lines)
		var refusal *gate.Refusal
		var missing *gate.Missing
		switch {
		case test.missing:
			if !errors.As(err, &missing) {
				t.Errorf("%s: %v", name, err)
			}
		case test.reason != "":
			if !errors.As(err, &refusal) || refusal.Reason != test.reason || refusal.Remedy == "" {
				t.Errorf("%s: %v, want %s", name, err, test.reason)
			}
		case err != nil:
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzVerify(f *testing.F) {
	f.Add([]byte("a\n"), []byte(Checksum([]byte("a\n"))), manifestOf(f, "a\n", nil).Value, uint8(0))
	f.Add([]byte("H4sIAAAAAAAC/0vkAgAHoerdAgAAAA=="), []byte(Checksum([]byte("a\n"))+"\n"), []byte("{"), uint8(0))
	f.Add([]byte{}, []byte{}, []byte(`{"format":2}`), uint8(3))
	f.Fuzz(func(t *testing.T, data, checksum, manifest []byte, flags uint8) {
		s, err := Verify("hosts", there(string(data), uint64(flags)), there(string(checksum), 0), there(string(manifest), 0))
		if err != nil {
			return
		}
		if s.State == Absent || s.Plain != nil && Checksum(s.Plain) != s.SHA256 {
			t.Fatalf("%+v", s)
		}
		if s.State == Managed && (s.Manifest == nil || s.Manifest.SHA256 != s.SHA256 || s.SHA256 != string(bytes.TrimSpace(checksum))) {
			t.Fatalf("managed, but not of one piece: %+v", s)
		}
		if s.SHA256 != "" && s.Decide(s.SHA256) == Replace {
			t.Fatalf("the same bytes are taken for other ones: %+v", s)
		}
	})
}
