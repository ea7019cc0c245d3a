package bench

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"kvexpress/internal/consultest"
	"kvexpress/internal/kv"
)

// BenchmarkWatch: from the change of a key to the new bytes in place, by a watch of
// a Consul agent, with `kvexpress out` and with what 1.x did. Ours is durable when
// it is in place, 1.x's was not.
func BenchmarkWatch(b *testing.B) {
	bin := programs(b)
	dir := b.TempDir()
	b.Setenv("KVEXPRESS_SYSLOG", "off")
	layout, err := kv.NewLayout("kvexpress")
	if err != nil {
		b.Fatal(err)
	}
	target := map[string]string{"ours": filepath.Join(dir, "ours", "file"), "legacy": filepath.Join(dir, "legacy", "file")}
	for _, file := range target {
		if err := os.Mkdir(filepath.Dir(file), 0o700); err != nil {
			b.Fatal(err)
		}
	}
	// The handlers learn the agent's address from a file: it is not known yet.
	handler := func(name, command string) map[string]any {
		return map[string]any{"type": "key", "key": layout.Checksum(kv.Key(name)), "args": []string{"/bin/sh", "-c",
			"read -r addr <" + filepath.Join(dir, "addr") + " && exec " + command}}
	}
	consul := consultest.Start(b, consultest.WithConfig(map[string]any{"watches": []any{
		handler("ours", fmt.Sprintf(`%s out -k ours -f %s --state-dir %s -s "$addr" --missing-ok`,
			filepath.Join(bin, "kvexpress"), target["ours"], filepath.Join(dir, "state"))),
		handler("legacy", fmt.Sprintf(`%s "$addr" kvexpress legacy %s %s`,
			filepath.Join(bin, "legacy"), target["legacy"], layout.Lock(target["legacy"], "host"))),
	}}))
	write(b, filepath.Join(dir, "addr"), []byte(consul.Addr+"\n"))

	change := func(name string) func(int) sample {
		return func(i int) sample {
			content := hosts(i + 1)
			start := time.Now()
			put(b, consul.Addr, layout, kv.Key(name), content)
			for deadline := start.Add(30 * time.Second); ; time.Sleep(200 * time.Microsecond) {
				if got, err := os.ReadFile(target[name]); err == nil && bytes.Equal(got, content) {
					return sample{wall: time.Since(start)}
				}
				if time.Now().After(deadline) {
					b.Fatalf("%s was not delivered", name)
				}
			}
		}
	}
	var a, f []sample
	for i := range rounds + 3 {
		x, y := change("ours")(i), change("legacy")(i)
		if i >= 3 {
			a, f = append(a, x), append(f, y)
		}
	}
	wall := func(s sample) float64 { return s.wall.Seconds() * 1000 }
	b.ReportMetric(median(a, wall), "ms")
	b.ReportMetric(median(f, wall), "1.x-ms")
	b.ReportMetric(ratio(a, f, wall), "x-1.x")
	b.ReportMetric(0, "ns/op")
}

// put changes data and checksum in one transaction, the same for both sides.
func put(b *testing.B, addr string, l kv.Layout, k kv.Key, content []byte) {
	b.Helper()
	sum := sha256.Sum256(content)
	type row struct {
		Verb, Key string
		Value     []byte
	}
	body, err := json.Marshal([]map[string]row{
		{"KV": {"set", l.Data(k), content}},
		{"KV": {"set", l.Checksum(k), []byte(hex.EncodeToString(sum[:]))}},
	})
	if err != nil {
		b.Fatal(err)
	}
	req, err := http.NewRequestWithContext(b.Context(), http.MethodPut, "http://"+addr+"/v1/txn", bytes.NewReader(body))
	if err != nil {
		b.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		b.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil || resp.StatusCode != http.StatusOK {
		b.Fatal(errors.Join(err, fmt.Errorf("status %d", resp.StatusCode)))
	}
}
