// Package bench measures kvexpress against bare programs that make the same
// requests, in one run, on a real Consul. Every figure is a median of alternating
// rounds; what counts are the ratios. Nothing here asserts a time.
//
//	go test -run '^$' -bench . -benchtime 1x ./bench
package bench

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"kvexpress/internal/consultest"
	"kvexpress/internal/kv"
)

// rounds is how often each program runs in a comparison.
const rounds = 101

// programs builds what is compared.
func programs(b *testing.B) (dir string) {
	b.Helper()
	dir = b.TempDir()
	build(b, dir, "kvexpress", "scripts/build") // as it is released
	for _, name := range []string{"bare", "legacy"} {
		build(b, dir, name, "go", "build", "-C", "bench/"+name, "-trimpath", "-ldflags", "-s -w", "-o")
	}
	return dir
}

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
type sample struct {
	wall, cpu time.Duration
	rss       int64         // KiB
	end       time.Time     // of the process
	store     time.Duration // of Consul's CPU, where it is measured
	bytes     int64         // received, where they are counted
}

func run(b *testing.B, name string, args ...string) sample {
	b.Helper()
	return launch(b, name, args...)()
}

// launch starts a program, and returns what waits for its end.
func launch(b *testing.B, name string, args ...string) (wait func() sample) {
	b.Helper()
	cmd := exec.CommandContext(b.Context(), name, args...)
	cmd.Env = append(os.Environ(), "KVEXPRESS_SYSLOG=off")
	// A file: to read a pipe would compete with what is measured.
	out, err := os.Create(filepath.Join(b.TempDir(), "out"))
	if err != nil {
		b.Fatal(err)
	}
	defer out.Close() // the program has its own
	cmd.Stdout, cmd.Stderr = out, out
	start := time.Now()
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	return func() sample {
		b.Helper()
		err := cmd.Wait()
		end := time.Now()
		if err != nil {
			said, _ := os.ReadFile(out.Name())
			b.Fatalf("%s %s: %v\n%s", filepath.Base(name), strings.Join(args, " "), err, said)
		}
		s := sample{wall: end.Sub(start), end: end, cpu: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()}
		if u, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
			s.rss = u.Maxrss
		}
		return s
	}
}

// compare runs two programs in turn, ours and the floor, and prints the medians
// and the median of the ratios of neighbours.
func compare(b *testing.B, ours, floor func(round int) sample) {
	b.Helper()
	var a, f []sample
	for i := range rounds + 3 {
		x, y := ours(i), floor(i)
		if i >= 3 { // the first warm up
			a, f = append(a, x), append(f, y)
		}
	}
	wall := func(s sample) float64 { return s.wall.Seconds() * 1000 }
	cpu := func(s sample) float64 { return s.cpu.Seconds() * 1000 }
	rss := func(s sample) float64 { return float64(s.rss) / 1024 }
	b.ReportMetric(median(a, wall), "ms")
	b.ReportMetric(median(f, wall), "floor-ms")
	b.ReportMetric(ratio(a, f, wall), "x-floor")
	b.ReportMetric(median(a, cpu), "cpu-ms")
	b.ReportMetric(ratio(a, f, cpu), "x-floor-cpu")
	b.ReportMetric(median(a, rss), "MiB")
	b.ReportMetric(0, "ns/op") // one run of all rounds means nothing
}

func median(s []sample, of func(sample) float64) float64 {
	v := make([]float64, len(s))
	for i := range s {
		v[i] = of(s[i])
	}
	slices.Sort(v)
	return v[len(v)/2]
}

func ratio(a, f []sample, of func(sample) float64) float64 {
	v := make([]float64, len(a))
	for i := range a {
		v[i] = of(a[i]) / of(f[i])
	}
	slices.Sort(v)
	return v[len(v)/2]
}

// BenchmarkOutNothingToDo: `out` of a current file is one request.
func BenchmarkOutNothingToDo(b *testing.B) {
	bin := programs(b)
	consul := consultest.Start(b)
	dir := b.TempDir()
	write(b, filepath.Join(dir, "hosts"), hosts(1))
	kx := filepath.Join(bin, "kvexpress")
	run(b, kx, "in", "-k", "hosts", "-f", filepath.Join(dir, "hosts"), "-s", consul.Addr)
	out := []string{"out", "-k", "hosts", "-f", filepath.Join(dir, "out"), "--state-dir", filepath.Join(dir, "state"), "-s", consul.Addr, "-e", "true"}
	run(b, kx, out...)
	layout, err := kv.NewLayout("kvexpress")
	if err != nil {
		b.Fatal(err)
	}
	read := []string{"read", consul.Addr, "kvexpress", "hosts", layout.Lock(filepath.Join(dir, "out"), "host")}
	compare(b,
		func(int) sample { return run(b, kx, out...) },
		func(int) sample { return run(b, filepath.Join(bin, "bare"), read...) })
}

// BenchmarkIn: `in` of new content is two requests, and a third that bare leaves out: when the
// version is published, Consul's followers are to hear of it at once.
func BenchmarkIn(b *testing.B) {
	bin := programs(b)
	consul := consultest.Start(b)
	file := filepath.Join(b.TempDir(), "hosts")
	next := func(i int) { write(b, file, hosts(i)) }
	compare(b,
		func(i int) sample {
			next(i)
			return run(b, filepath.Join(bin, "kvexpress"), "in", "-k", "hosts", "-f", file, "-s", consul.Addr)
		},
		func(i int) sample {
			next(i)
			return run(b, filepath.Join(bin, "bare"), "publish", consul.Addr, "bare", "hosts", file)
		})
}
