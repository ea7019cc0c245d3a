package bench

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

const idleKey = "/v1/kv/kvexpress/hosts/data"

// BenchmarkServeIdle: what serve's process grows by with 10,000 watchers that wait, whose process is another one.
func BenchmarkServeIdle(b *testing.B) {
	watchers := number(b, "KVEXPRESS_BENCH_WATCHERS", 10_000)
	if err := enoughFiles(uint64(watchers + 500)); err != nil {
		b.Fatal(err)
	}
	_, serve := storeSides(b)
	writer, err := dialHTTP(serve.addr)
	if err != nil {
		b.Fatal(err)
	}
	if _, _, err := writer.do(http.MethodPut, idleKey, hosts(0)); err != nil {
		b.Fatal(err)
	}
	table := newTable()
	fmt.Fprintf(table, "%d watchers, after change\tMiB before\tMiB with them\tKB each\t\n", watchers)
	before, err := processMemory(serve.pid)
	if err != nil {
		b.Fatal(err)
	}
	f := newFleet(b, filepath.Join(b.TempDir(), "idle.log"))
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	ready := filepath.Join(b.TempDir(), "ready")
	f.spawn([]string{childEnv + "=idle", "IDLE=" + serve.addr + " " + strconv.Itoa(watchers) + " " + ready}, self)
	grown := func(round string) float64 {
		for end := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
			if got, err := os.ReadFile(ready); err == nil && string(got) == round {
				break
			}
			if time.Now().After(end) {
				b.Fatalf("the watchers are not there\n%s", f.lastWords())
			}
		}
		time.Sleep(3 * time.Second) // the last of them have sent their request
		after, err := processMemory(serve.pid)
		if err != nil {
			b.Fatal(err)
		}
		each := (after.resident - before.resident) * 1.048576 * 1000 / float64(watchers)
		fmt.Fprintf(table, "%s\t%.1f\t%.1f\t%.1f\t\n", round, before.resident, after.resident, each)
		return each
	}
	first := grown("1")
	if _, _, err := writer.do(http.MethodPut, idleKey, hosts(1)); err != nil {
		b.Fatal(err)
	}
	second := grown("2")
	table.print(b)
	b.ReportMetric(first, "KB/watcher")
	b.ReportMetric(second, "KB/watcher-after-a-change")
}

// runIdle is the process of the watchers: it notes in a file how many changes all of them have seen.
func runIdle(spec string) error {
	var addr, ready string
	var n int
	if _, err := fmt.Sscan(spec, &addr, &n, &ready); err != nil {
		return err
	}
	type news struct{ err error }
	seen := make(chan news, n)
	for range n {
		conn, err := dialHTTP(addr)
		if err != nil {
			return err
		}
		conn.r = bufio.NewReaderSize(conn.conn, 4<<10)
		go func() { // ends with the process
			index := uint64(0)
			for {
				_, at, err := conn.do(http.MethodGet, idleKey+"?raw&wait=600s&index="+strconv.FormatUint(index, 10), nil)
				if at != index || err != nil {
					seen <- news{err}
				}
				if index = at; err != nil {
					return
				}
			}
		}()
	}
	for round := 1; ; round++ {
		for range n {
			if got := <-seen; got.err != nil {
				return got.err
			}
		}
		if err := os.WriteFile(ready, []byte(strconv.Itoa(round)), 0o600); err != nil {
			return err
		}
	}
}
