package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/consultest"
)

// store is a look into Consul past the code under test, by its plain HTTP API.
type store struct {
	t      testing.TB
	server *consultest.Server
	token  string
}

// on is the same store for a subtest.
func (s *store) on(t testing.TB) *store { return &store{t: t, server: s.server, token: s.token} }

func (s *store) request(method, path string, body []byte) (int, []byte) {
	s.t.Helper()
	status, answer, err := s.server.Request(method, path, s.token, body)
	if err != nil {
		s.t.Fatal(err)
	}
	return status, answer
}

// put writes one row, as `curl -X PUT` does.
func (s *store) put(path, value string, flags uint64) {
	s.t.Helper()
	status, answer := s.request(http.MethodPut, "/v1/kv/"+path+"?flags="+strconv.FormatUint(flags, 10), []byte(value))
	if status != http.StatusOK || strings.TrimSpace(string(answer)) != "true" {
		s.t.Fatalf("PUT %s: %d %s", path, status, answer)
	}
}

func (s *store) remove(path string) {
	s.t.Helper()
	if status, answer := s.request(http.MethodDelete, "/v1/kv/"+path, nil); status != http.StatusOK {
		s.t.Fatalf("DELETE %s: %d %s", path, status, answer)
	}
}

// row is one entry of the KV store, as Consul answers it.
type row struct {
	Key         string
	Value       []byte
	Flags       uint64
	ModifyIndex uint64
}

// get reads one row. It is nil where there is none.
func (s *store) get(path string) *row {
	s.t.Helper()
	status, answer := s.request(http.MethodGet, "/v1/kv/"+path, nil)
	if status == http.StatusNotFound {
		return nil
	}
	var rows []row
	if err := json.Unmarshal(answer, &rows); err != nil || status != http.StatusOK || len(rows) != 1 {
		s.t.Fatalf("GET %s: %d %s", path, status, brief(string(answer)))
	}
	return &rows[0]
}

// value is the value of a row that must be there.
func (s *store) value(path string) string {
	s.t.Helper()
	r := s.get(path)
	if r == nil {
		s.t.Fatalf("there is no %s", path)
	}
	return string(r.Value)
}

// keys lists the paths that begin with prefix.
func (s *store) keys(prefix string) []string {
	s.t.Helper()
	status, answer := s.request(http.MethodGet, "/v1/kv/"+prefix+"?keys", nil)
	if status == http.StatusNotFound {
		return nil
	}
	var keys []string
	if err := json.Unmarshal(answer, &keys); err != nil {
		s.t.Fatalf("list %s: %d %s", prefix, status, answer)
	}
	return keys
}

// manifest is what a test looks at in a manifest.
type manifest struct {
	Lineage   string `json:"lineage"`
	Version   uint64 `json:"version"`
	PublishID string `json:"publish_id"`
	SHA256    string `json:"sha256"`
}

func (s *store) manifest(path string) manifest {
	s.t.Helper()
	var m manifest
	if err := json.Unmarshal([]byte(s.value(path)), &m); err != nil {
		s.t.Fatalf("%s: %v", path, err)
	}
	return m
}

// version is the version of kvexpress/hosts that stands.
func (s *store) version() uint64 {
	s.t.Helper()
	return s.manifest("kvexpress/hosts/manifest").Version
}

func sum(content string) string {
	h := sha256.Sum256([]byte(content))
	return hex.EncodeToString(h[:])
}

// text is content of so many lines that tells its name.
func text(name string, lines int) string {
	var b strings.Builder
	for i := range lines {
		fmt.Fprintf(&b, "127.0.0.%d %s-%d.example\n", i%250+1, name, i)
	}
	return b.String()
}

// noise is text of exactly size bytes, in lines, that hardly compresses.
func noise(size int, seed uint64) string {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	random := rand.New(rand.NewPCG(seed, 0))
	b := make([]byte, size)
	for i := range b {
		b[i] = letters[random.IntN(len(letters))]
		if i%64 == 63 || i == size-1 {
			b[i] = '\n'
		}
	}
	return string(b)
}

// brief makes content fit for a message.
func brief(s string) string {
	if len(s) > 200 {
		return fmt.Sprintf("%d bytes: %q…", len(s), s[:200])
	}
	return strconv.Quote(s)
}

// eventually asks again and again, with a limit that only a broken program
// reaches.
func eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	limit := time.NewTimer(time.Minute)
	defer limit.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-limit.C:
			t.Fatalf("waited in vain: %s", what)
		}
	}
}
