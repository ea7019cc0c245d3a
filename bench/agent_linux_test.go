package bench

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"kvexpress/internal/consultest"
	"kvexpress/internal/kv"
)

// many is the number of targets of a large agent.
const many = 100

// lone is one process of a node that is at rest.
type lone struct {
	name  string
	fleet *fleet
}

// BenchmarkAgentMemory: one process, after some changes: an agent with one
// target, with 100, and what it is compared with.
func BenchmarkAgentMemory(b *testing.B) {
	const runs = 5
	kinds := wanted(b, ours, consulTemplate, floorRaw)
	t := buildTools(b, kinds...)
	server := consultest.Start(b)
	pub := newPublisher(b, server.Addr)
	found := map[string][]memory{}
	var names []string
	for range runs {
		for _, l := range loneProcesses(b, t, kinds, server, pub) {
			if !slices.Contains(names, l.name) {
				names = append(names, l.name)
			}
			found[l.name] = append(found[l.name], l.fleet.memory())
			l.fleet.stop()
		}
	}
	table := newTable()
	fmt.Fprintf(table, "median of %d\tanonymous MiB\tresident MiB\t\n", runs)
	for _, name := range names {
		var anonymous, resident []float64
		for _, m := range found[name] {
			anonymous, resident = append(anonymous, m.anonymous), append(resident, m.resident)
		}
		fmt.Fprintf(table, "%s\t%.2f\t%.2f\t\n", name, middle(anonymous), middle(resident))
		b.ReportMetric(middle(anonymous), name+"-anonymous-MiB")
		b.ReportMetric(middle(resident), name+"-resident-MiB")
	}
	table.print(b)
}

// BenchmarkAgentIdle: the CPU time of processes that have nothing to do, over a
// minute and one turn of their waits, or five with KVEXPRESS_SOAK=1.
func BenchmarkAgentIdle(b *testing.B) {
	kinds := wanted(b, ours, consulTemplate, floorRaw)
	t := buildTools(b, kinds...)
	server := consultest.Start(b)
	idle := 65 * time.Second
	if soaking() {
		idle = 300 * time.Second
	}
	processes := loneProcesses(b, t, kinds, server, newPublisher(b, server.Addr))
	var before []time.Duration
	var fleets []*fleet
	for _, l := range processes {
		before, fleets = append(before, l.fleet.cpu()), append(fleets, l.fleet)
	}
	rest(b, idle, fleets...)
	table := newTable()
	fmt.Fprintf(table, "%v at rest\tCPU ms\t%% of a core\t\n", idle)
	for i, l := range processes {
		used := l.fleet.cpu() - before[i]
		share := 100 * used.Seconds() / idle.Seconds()
		fmt.Fprintf(table, "%s\t%.2f\t%.4f\t\n", l.name, ms(used), share)
		b.ReportMetric(share, l.name+"-%-of-a-core")
	}
	table.print(b)
}

// loneProcesses starts one process of each sort, lets them take three changes of
// the key that all of them keep, and comes back when they have settled.
func loneProcesses(b *testing.B, t tools, kinds []kind, server *consultest.Server, pub *publisher) []lone {
	b.Helper()
	var all []lone
	var targets []string
	s, _ := newSite(b, server.Addr, 4)
	content := pub.content()
	pub.publish(b, content)
	start := func(name string, k kind) {
		f := newFleet(b, filepath.Join(s.node(len(all)), "log"))
		if k == "" {
			t.spawnMany(f, s, len(all), pub)
		} else {
			t.spawn(f, k, s, len(all))
		}
		targets = append(targets, s.target(len(all)))
		all = append(all, lone{name, f})
	}
	for _, k := range kinds {
		start(string(k), k)
		if k == ours {
			start(fmt.Sprintf("kvexpress-%d-targets", many), "")
		}
	}
	for range 3 {
		for i, target := range targets {
			poll(b, target, content, all[i].fleet)
		}
		time.Sleep(300 * time.Millisecond)
		content = pub.content()
		pub.publish(b, content)
	}
	time.Sleep(5 * time.Second)
	return all
}

// spawnMany starts an agent with 100 targets, and waits for its files.
func (t tools) spawnMany(f *fleet, s site, i int, pub *publisher) {
	f.b.Helper()
	list := []target{{string(key), s.target(i)}}
	contents := map[string][]byte{}
	other := newPublisher(f.b, s.Addr)
	for n := range many - 1 {
		name := fmt.Sprintf("other-%03d", n)
		list = append(list, target{name, filepath.Join(filepath.Dir(s.target(i)), name)})
		contents[name] = append(pub.content(), "# "+name+"\n"...)
		other.key = kv.Key(name)
		other.publish(f.b, contents[name])
	}
	file := filepath.Join(s.node(i), "agent.yml")
	write(f.b, file, agentYAML(s, i, list...))
	f.spawn(nil, t.kvexpress, "agent", "-C", file)
	for _, one := range list[1:] {
		poll(f.b, one.file, contents[one.key], f)
	}
}

// poll waits until a file has its content.
func poll(b *testing.B, file string, content []byte, f *fleet) {
	b.Helper()
	for deadline := time.Now().Add(landLimit); ; time.Sleep(5 * time.Millisecond) {
		if got, err := os.ReadFile(file); err == nil && bytes.Equal(got, content) {
			return
		}
		select {
		case err := <-f.died:
			b.Fatal(err)
		default:
		}
		if time.Now().After(deadline) {
			b.Fatalf("%s did not get its content within %v\n%s", file, landLimit, f.lastWords())
		}
	}
}

// BenchmarkAgentStart: from the start of a process to its first file in place.
func BenchmarkAgentStart(b *testing.B) {
	const runs = 21
	kinds := wanted(b, ours, floorRaw, consulTemplate)
	t := buildTools(b, kinds...)
	server := consultest.Start(b)
	pub := newPublisher(b, server.Addr)
	content := pub.content()
	pub.publish(b, content)
	took := map[kind][]float64{}
	for range runs {
		for _, k := range kinds {
			s, targets := newSite(b, server.Addr, 1)
			seen, err := observe(targets)
			if err != nil {
				b.Fatal(err)
			}
			seen.expect(content)
			start := time.Now()
			f := t.start(b, k, s)
			landed, err := seen.wait(landLimit, f.died)
			if err != nil {
				b.Fatalf("%v\n%s", err, f.lastWords())
			}
			took[k] = append(took[k], ms(landed[0].Sub(start)))
			f.stop()
			seen.close()
			os.RemoveAll(s.Base)
		}
	}
	table := newTable()
	fmt.Fprintf(table, "%d starts\tmedian ms\tslowest ms\t\n", runs)
	for _, k := range kinds {
		sorted := slices.Sorted(slices.Values(took[k]))
		fmt.Fprintf(table, "%s\t%.2f\t%.2f\t\n", k, quantile(sorted, 0.5), quantile(sorted, 1))
		b.ReportMetric(quantile(sorted, 0.5), string(k)+"-start-ms")
	}
	table.print(b)
}
