package cli

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/cli/render"
	"kvexpress/internal/embedded"
	"kvexpress/internal/fleet"
	"kvexpress/internal/hold"
	"kvexpress/internal/kv"
)

// A path that is known from a receipt is shown.
func TestPathsOfLocks(t *testing.T) {
	layout, err := kv.NewLayout("kvexpress")
	if err != nil {
		t.Fatal(err)
	}
	s := &session{App: &App{}, g: &globals{}, host: "here", layout: layout, store: embedded.New(), started: time.Now()}
	for _, file := range []string{"/etc/hosts", "/etc/motd", "/etc/unknown"} {
		f := s.freezer()
		f.Host = "web-17"
		if _, err := f.Lock(t.Context(), file, "why", time.Time{}); err != nil {
			t.Fatal(err)
		}
	}
	r, err := s.locks(t.Context(), nil, "", fleet.Roster{Nodes: []fleet.Node{{Receipt: fleet.Receipt{
		Targets: []fleet.Target{{Key: "hosts", File: "/etc/hosts"}}}}}})
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, line := range r.lines()[1:] {
		files = append(files, strings.Fields(line)[1])
	}
	want := []string{"/etc/hosts", render.Short(kv.FileHash("/etc/motd")) + "…", render.Short(kv.FileHash("/etc/unknown")) + "…"}
	slices.Sort(want)
	if !slices.Equal(files, want) {
		t.Errorf("the files are %v, want %v", files, want)
	}
	if b, err := json.Marshal(r); err != nil || !strings.Contains(string(b), `"file":"/etc/hosts"`) {
		t.Errorf("%s, %v", b, err)
	}
}

// The columns line up, and times are for people.
func TestTablesOfStopsAndLocks(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	locks := lockReport{now: now, Locks: []lockRow{
		{Lock: hold.Lock{Hash: kv.FileHash("/a"), Node: "web-1", Reason: "why\x1b[2J", Who: "ann@build", Since: now.Add(-90 * time.Minute),
			Until: now}, File: "/a", Expired: true},
		{Lock: hold.Lock{Hash: kv.FileHash("/a"), Node: "web-17.example.com", Reason: strings.Repeat("é", 101),
			Since: now.Add(time.Hour), Until: now.Add(26 * time.Hour)}},
		{Lock: hold.Lock{Hash: kv.FileHash("/b"), Node: "web-2", Reason: "1.x"}, File: "/etc/hosts.consul"},
	}}
	want := []string{
		"NODE                FILE               SET        ENDS     WHO        REASON",
		`web-1               /a                 1h30m ago  expired  ann@build  why\x1b[2J`,
		"web-17.example.com  " + render.Short(kv.FileHash("/a")) + "…      0s ago     in 1d2h  unknown    " + strings.Repeat("é", 101),
		"web-2               /etc/hosts.consul  unknown    -        unknown    1.x",
	}
	if got := locks.lines(); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	stops := stopReport{now: now, Stops: []hold.Stop{{Key: "hosts", Reason: "bad data", Who: "ann@build", Since: now.Add(-50 * time.Hour)},
		{Key: "team/app/flags", Reason: "1.x"}}}
	want = []string{
		"KEY             SET       WHO        REASON",
		"hosts           2d2h ago  ann@build  bad data",
		"team/app/flags  unknown   unknown    1.x",
	}
	if got := stops.lines(); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
