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

	"kvexpress/internal/testutil/consultest"
)

// Store reads and writes Consul past the code under test, by its plain HTTP API.
type Store struct {
	T      testing.TB
	Server *consultest.Server
	Token  string
}

// On is the same store for a subtest.
func (s *Store) On(t testing.TB) *Store { return &Store{T: t, Server: s.Server, Token: s.Token} }

// Request is one request to the store.
func (s *Store) Request(method, path string, body []byte) (int, []byte) {
	s.T.Helper()
	status, answer, err := s.Server.Request(method, path, s.Token, body)
	if err != nil {
		s.T.Fatal(err)
	}
	return status, answer
}

// Put writes one row, as `curl -X PUT` does.
func (s *Store) Put(path, value string, flags uint64) {
	s.T.Helper()
	status, answer := s.Request(http.MethodPut, "/v1/kv/"+path+"?flags="+strconv.FormatUint(flags, 10), []byte(value))
	if status != http.StatusOK || strings.TrimSpace(string(answer)) != "true" {
		s.T.Fatalf("PUT %s: %d %s", path, status, answer)
	}
}

// Remove deletes a row.
func (s *Store) Remove(path string) {
	s.T.Helper()
	if status, answer := s.Request(http.MethodDelete, "/v1/kv/"+path, nil); status != http.StatusOK {
		s.T.Fatalf("DELETE %s: %d %s", path, status, answer)
	}
}

// Row is one entry of the KV store, as Consul answers it.
type Row struct {
	Key         string
	Value       []byte
	Flags       uint64
	ModifyIndex uint64
}

// Get reads one row. It is nil where there is none.
func (s *Store) Get(path string) *Row {
	s.T.Helper()
	status, answer := s.Request(http.MethodGet, "/v1/kv/"+path, nil)
	if status == http.StatusNotFound {
		return nil
	}
	var rows []Row
	if err := json.Unmarshal(answer, &rows); err != nil || status != http.StatusOK || len(rows) != 1 {
		s.T.Fatalf("GET %s: %d %s", path, status, Brief(string(answer)))
	}
	return &rows[0]
}

// Value is the value of a row that must be there.
func (s *Store) Value(path string) string {
	s.T.Helper()
	r := s.Get(path)
	if r == nil {
		s.T.Fatalf("there is no %s", path)
	}
	return string(r.Value)
}

// Keys lists the paths that begin with prefix.
func (s *Store) Keys(prefix string) []string {
	s.T.Helper()
	status, answer := s.Request(http.MethodGet, "/v1/kv/"+prefix+"?keys", nil)
	if status == http.StatusNotFound {
		return nil
	}
	var keys []string
	if err := json.Unmarshal(answer, &keys); err != nil {
		s.T.Fatalf("list %s: %d %s", prefix, status, answer)
	}
	return keys
}

// Manifest has the fields of a manifest that tests check.
type Manifest struct {
	Lineage   string `json:"lineage"`
	Version   uint64 `json:"version"`
	PublishID string `json:"publish_id"`
	SHA256    string `json:"sha256"`
}

// Manifest is the manifest at a path.
func (s *Store) Manifest(path string) Manifest {
	s.T.Helper()
	var m Manifest
	if err := json.Unmarshal([]byte(s.Value(path)), &m); err != nil {
		s.T.Fatalf("%s: %v", path, err)
	}
	return m
}

// Version is the live version of kvexpress/hosts.
func (s *Store) Version() uint64 {
	s.T.Helper()
	return s.Manifest("kvexpress/hosts/manifest").Version
}

// Sum is the SHA-256 of content, in hex digits.
func Sum(content string) string {
	h := sha256.Sum256([]byte(content))
	return hex.EncodeToString(h[:])
}

// Text is content of so many lines, with its name in each.
func Text(name string, lines int) string {
	var b strings.Builder
	for i := range lines {
		fmt.Fprintf(&b, "127.0.0.%d %s-%d.example\n", i%250+1, name, i)
	}
	return b.String()
}

// Noise is text of exactly size bytes, in lines, that hardly compresses.
func Noise(size int, seed uint64) string {
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

// Brief makes content fit for a message.
func Brief(s string) string {
	if len(s) > 200 {
		return fmt.Sprintf("%d bytes: %q…", len(s), s[:200])
	}
	return strconv.Quote(s)
}

// Eventually waits for an event that must happen soon. Only a broken program reaches its
// limit.
func Eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	Within(t, 3*time.Minute, what, done)
}

// Within is Eventually with another limit. It returns how long it took.
func Within(t testing.TB, limit time.Duration, what string, done func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	for !done() {
		if time.Since(began) > limit {
			t.Fatalf("waited in vain, for %v: %s", limit, what)
		}
		<-time.After(20 * time.Millisecond)
	}
	return time.Since(began)
}
