//go:build linux

package agent

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"kvexpress/internal/kv"
	"kvexpress/test/e2e"
)

const (
	fullSoak    = 10 * time.Minute
	shortSoak   = 30 * time.Second
	soakTargets = 10
)

// An agent with ten files runs for a while under all events of a fleet: keys
// change, are stopped and resumed, files are locked, unlocked and edited,
// servers die and hang. Its memory, descriptors and goroutines stay flat, and in the
// end every target has converged.
func TestAgentSoak(t *testing.T) {
	t.Parallel()
	c := e2e.StartCluster(t)
	x := c.Site(t, 0)
	key := func(i int) string { return fmt.Sprintf("file-%d", i) }
	var targets []e2e.Fields
	authors := make([]*author, soakTargets)
	shared := x.Script("shared", "exit 0\n")
	for i := range soakTargets {
		authors[i] = newAuthor(c, x, key(i))
		authors[i].must()
		exec := shared
		if i%2 == 0 {
			exec = hashes(x, "hash-"+key(i), key(i))
		}
		targets = append(targets, to(x, key(i), e2e.Fields{"exec": exec, "check": "grep -q version {file}"}))
	}
	var addrs []string
	for _, s := range c.Servers {
		addrs = append(addrs, s.Addr)
	}
	x.ConfigWith("agent", e2e.Fields{"reconcile": "10s"}, addrs, targets...)
	d := x.Agent("agent")
	for i := range soakTargets {
		d.Delivers(key(i), e2e.Version(1))
	}

	period := shortSoak
	if e2e.Times(10) == 10 {
		period = fullSoak
	}
	flat := newTrend(d)
	trouble := loop(t, func(ctx context.Context, i int) { trouble(ctx, c, i) })
	people := loop(t, func(ctx context.Context, _ int) { meddle(ctx, x, authors) })
	for end := time.Now().Add(period); time.Now().Before(end); e2e.Pause(250 * time.Millisecond) {
		flat.sample()
	}
	people()
	trouble()

	for _, s := range c.Servers {
		s.Ready()
	}
	for i := range soakTargets {
		if _, _, err := freezer(x).Resume(t.Context(), kv.Key(key(i)), ""); err != nil {
			t.Fatal(err)
		}
		if _, err := freezer(x).Unlock(t.Context(), x.Path(key(i))); err != nil {
			t.Fatal(err)
		}
	}
	var versions int64
	for i, a := range authors {
		content := a.must()
		versions += a.acked.Load()
		d.Delivers(key(i), content)
		if i%2 == 0 {
			e2e.Eventually(t, "the exec runs for "+key(i), func() bool { return ranLast(x, "hash-"+key(i), key(i), content) })
		}
		e2e.Eventually(t, "no exec is pending", func() bool { return !d.Target(key(i)).Exec.Pending })
	}
	if litter := litter(x); len(litter) > 0 {
		t.Errorf("left behind: %q", litter)
	}
	t.Logf("%v: %d versions, %.1f s of CPU, at most %.1f MiB resident", period, versions, cpuOf(d).Seconds(),
		float64(memory(d, "VmHWM"))/1024)
	for _, growth := range flat.judge(t) {
		t.Error(growth)
	}
}

// trouble is one thing that happens to a server, and its end.
func trouble(ctx context.Context, c *e2e.Cluster, i int) {
	wait := func(d time.Duration) {
		select {
		case <-ctx.Done():
		case <-time.After(d):
		}
	}
	wait(rand.N(3 * time.Second))
	s := c.Servers[rand.N(len(c.Servers))]
	if i%2 == 0 {
		s.Pause()
		wait(rand.N(3 * time.Second))
		s.Resume()
	} else {
		s.Kill()
		wait(rand.N(3 * time.Second))
		s.Launch()
	}
	wait(2 * time.Second)
}

// meddle is one thing that people do.
func meddle(ctx context.Context, x *e2e.Site, authors []*author) {
	i := rand.N(len(authors))
	a := authors[i]
	file := x.Path(a.key)
	short, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	freezer := freezer(x)
	freezer.Store = a.clients[rand.N(len(a.clients))].Store
	var err error
	switch rand.N(12) {
	case 0:
		_, err = freezer.Stop(short, kv.Key(a.key), "a reason")
	case 1, 2:
		_, _, err = freezer.Resume(short, kv.Key(a.key), "")
	case 3:
		_, err = freezer.Lock(short, file, "a reason", time.Now().Add(rand.N(5*time.Second)))
	case 4, 5:
		_, err = freezer.Unlock(short, file)
	case 6:
		err = os.WriteFile(file, []byte("somebody was here\n"), 0o600)
	case 7:
		_ = os.Remove(file) // it may be missing already
	default:
		a.once(short, rand.N(len(a.clients)))
	}
	_ = err // servers die, all the time
	select {
	case <-ctx.Done():
	case <-time.After(rand.N(100 * time.Millisecond)):
	}
}

// trend is what a daemon uses, over time.
type trend struct {
	d       *e2e.Daemon
	samples map[string][]float64
}

func newTrend(d *e2e.Daemon) *trend { return &trend{d: d, samples: map[string][]float64{}} }

func (r *trend) sample() {
	for name, value := range map[string]float64{
		"anonymous memory in KiB": float64(memory(r.d, "RssAnon")),
		"descriptors":             float64(descriptors(r.d)),
		"goroutines":              metric(r.d, "go_goroutines"),
	} {
		r.samples[name] = append(r.samples[name], value)
	}
}

// judge compares the medians of the two halves. What comes first, when pools fill, does
// not count.
func (r *trend) judge(t *testing.T) (growth []string) {
	t.Helper()
	allowed := map[string]func(first float64) float64{
		"anonymous memory in KiB": func(first float64) float64 { return 1.25*first + 1024 },
		"descriptors":             func(first float64) float64 { return 1.25*first + 10 },
		"goroutines":              func(first float64) float64 { return 1.25*first + 20 },
	}
	for name, all := range r.samples {
		all = all[len(all)/5:]
		first, second := median(all[:len(all)/2]), median(all[len(all)/2:])
		t.Logf("%s: %.0f, then %.0f (%.0f to %.0f, %d samples)", name, first, second, slices.Min(all), slices.Max(all), len(all))
		if most := allowed[name](first); second > most {
			growth = append(growth, fmt.Sprintf("%s: %.0f, then %.0f; at most %.0f are allowed", name, first, second, most))
		}
	}
	return growth
}

func median(all []float64) float64 {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[len(sorted)/2]
}
