package bench

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"kvexpress/internal/kv"
	"kvexpress/internal/testutil/consultest"
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
	runs := number(b, roundsEnv, 5)
	kinds := wanted(b, ours, old, consulTemplate, floorRaw)
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

// loneProcesses starts one process of each sort, lets them take three changes of
// the key that all of them keep, and comes back when they have settled.
func loneProcesses(b *testing.B, t tools, kinds []kind, server *consultest.Server, pub *publisher) []lone {
	b.Helper()
	var all []lone
	var targets []string
	s, _ := newSite(b, server.Addr, len(kinds)+1)
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
		if err := f.ended(); err != nil {
			b.Fatal(err)
		}
		if time.Now().After(deadline) {
			b.Fatalf("%s did not get its content within %v\n%s", file, landLimit, f.lastWords())
		}
	}
}
