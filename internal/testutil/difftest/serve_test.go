package difftest

import (
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"kvexpress/internal/embedded"
	"kvexpress/internal/embedded/consulapi"
)

// serve is the embedded store behind its HTTP front.
func serve(t *testing.T) string {
	t.Helper()
	engine, err := embedded.Open(embedded.Options{})
	if err != nil {
		t.Fatal(err)
	}
	front := httptest.NewServer(consulapi.New(consulapi.Options{Engine: engine}))
	t.Cleanup(func() {
		front.Close()
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	})
	return front.Listener.Addr().String()
}

// A client of serve sees the answers of Consul. The soak compares ten pairs of servers, so that
// none gets as old as its tombstones: each server reaps those after 15 minutes, at a moment of its own.
func TestServeAgainstConsul(t *testing.T) {
	t.Parallel()
	pairs, steps := 1, 5_000
	if os.Getenv("KVEXPRESS_SOAK") == "1" {
		pairs, steps = 10, 10_000
	}
	for pair := range pairs {
		t.Run(strconv.Itoa(pair), func(t *testing.T) {
			s := servers(t, consul(t), serve(t))
			kept(t, s)
			random(t, s, steps)
		})
	}
}

// The kept cases hold for Consul itself.
func TestKeptCasesOfConsul(t *testing.T) {
	t.Parallel()
	kept(t, servers(t, consul(t), consul(t)))
}

// kept runs every sequence that has shown a difference once. One that waits is run often, because its result
// depends on timing: a wake-up that was lost has shown itself in one of a hundred runs.
func kept(t *testing.T, s *Servers) {
	files, err := filepath.Glob("testdata/cases/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			seq, err := Parse(string(text))
			if err != nil || len(seq) == 0 {
				t.Fatalf("%d steps: %v", len(seq), err)
			}
			runs := 1
			if slices.ContainsFunc(seq, func(s Step) bool { return s.Method == Watch }) {
				runs = full(2_000)
			}
			for range runs {
				if err := s.Run(t.Context(), seq); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}
