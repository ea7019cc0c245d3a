// Package bench measures kvexpress against bare programs that make the same
// requests, in one run, on a real Consul. Every figure is a median of alternating
// rounds; what counts are the ratios. Nothing here asserts a time.
//
//	go test -C bench -run '^$' -bench . -benchtime 1x
package bench

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/kv"
	"kvexpress/internal/testutil/consultest"
)

// rounds is how often each program runs in a comparison.
const rounds = 101

// build runs a command, to which it adds the path of the program to make.
func build(b *testing.B, dir, name string, command ...string) {
	b.Helper()
	cmd := exec.CommandContext(b.Context(), command[0], append(command[1:], filepath.Join(dir, name))...)
	cmd.Dir, cmd.Env = "..", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("build %s: %v\n%s", name, err, out)
	}
}

// hosts is a hosts file of 600 lines, 22 KB, that differs with n.
func hosts(n int) []byte {
	var buf bytes.Buffer
	for i := range 600 {
		fmt.Fprintf(&buf, "10.%d.%d.%d web-%04d.example web-%04d\n", n%250, i/250, i%250, i, i)
	}
	return buf.Bytes()
}

func write(b *testing.B, path string, content []byte) {
	b.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		b.Fatal(err)
	}
}

// sample is what one run of a program cost.
type sample struct{ wall, cpu time.Duration }

func run(b *testing.B, name string, args ...string) sample {
	b.Helper()
	cmd := exec.CommandContext(b.Context(), name, args...)
	cmd.Env = append(os.Environ(), "KVEXPRESS_SYSLOG=off")
	// A file: reading a pipe would compete with the program under test.
	out, err := os.Create(filepath.Join(b.TempDir(), "out"))
	if err != nil {
		b.Fatal(err)
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	start := time.Now()
	err = cmd.Run()
	s := sample{wall: time.Since(start)}
	if err != nil {
		said, _ := os.ReadFile(out.Name())
		b.Fatalf("%s %s: %v\n%s", filepath.Base(name), strings.Join(args, " "), err, said)
	}
	s.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	return s
}

// oldEnv names a kvexpress of another build, to be measured beside this one.
const oldEnv = "KVEXPRESS_BENCH_OLD"

// BenchmarkOutNothingToDo: `out` of a current file is one request. Ours, bare and, if there
// is one, the old one run in turn; ratios are medians of those of neighbours.
func BenchmarkOutNothingToDo(b *testing.B) {
	t := buildTools(b, ours, floorRaw)
	dir := b.TempDir()
	consul := consultest.Start(b)
	write(b, filepath.Join(dir, "hosts"), hosts(1))
	run(b, t.kvexpress, "in", "-k", "hosts", "-f", filepath.Join(dir, "hosts"), "-s", consul.Addr)
	layout, err := kv.NewLayout("kvexpress")
	if err != nil {
		b.Fatal(err)
	}
	type side struct {
		name string
		run  func() sample
		all  []sample
	}
	out := func(name, program string) *side {
		args := []string{
			"out", "-k", "hosts", "-f", filepath.Join(dir, name+".out"), "--state-dir", filepath.Join(dir, name+".state"),
			"-s", consul.Addr, "-e", "true",
		}
		run(b, program, args...)
		return &side{name: name, run: func() sample { return run(b, program, args...) }}
	}
	lock := layout.Lock(filepath.Join(dir, "ours.out"), "host")
	args := []string{"read", consul.Addr, layout.Checksum(key), layout.Manifest(key), layout.Stop(key), lock}
	bare := &side{name: "bare", run: func() sample { return run(b, t.floor, args...) }}
	sides := []*side{out("ours", t.kvexpress), bare}
	if t.old != "" {
		sides = append(sides, out("old", t.old))
	}
	for i := range rounds + 3 {
		for _, s := range sides {
			if x := s.run(); i >= 3 { // the first warm up
				s.all = append(s.all, x)
			}
		}
	}
	for _, s := range sides {
		for unit, of := range map[string]func(sample) float64{
			"ms": func(s sample) float64 { return ms(s.wall) }, "cpu-ms": func(s sample) float64 { return ms(s.cpu) },
		} {
			var v, ratio []float64
			for i, x := range s.all {
				v, ratio = append(v, of(x)), append(ratio, of(sides[0].all[i])/of(x))
			}
			b.ReportMetric(middle(v), s.name+"-"+unit)
			if s != sides[0] {
				b.ReportMetric(middle(ratio), "x-"+s.name+"-"+unit)
			}
		}
	}
	b.ReportMetric(0, "ns/op") // one run of all rounds means nothing
}
