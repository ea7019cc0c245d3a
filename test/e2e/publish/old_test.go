package publish

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"

	"kvexpress/test/e2e"
)

// How kvexpress 1.x stores data, and how it reads.

// oldForm is a way in which some kvexpress 1.x stored data.
type oldForm struct {
	z      bool // called with -z
	flags  uint64
	encode func(testing.TB, string) string
}

func oldForms() map[string]oldForm {
	return map[string]oldForm{
		"plain":                    {false, 0, func(_ testing.TB, s string) string { return s }},
		"brotli, 1.16 with -z":     {true, 1, brotliOf},
		"gzip, until 1.14 with -z": {true, 0, gzipOf},
	}
}

func brotliOf(t testing.TB, s string) string {
	t.Helper()
	var b bytes.Buffer
	w := brotli.NewWriterLevel(&b, brotli.BestCompression)
	write(t, w, s)
	return b.String()
}

func gzipOf(t testing.TB, s string) string {
	t.Helper()
	var b bytes.Buffer
	write(t, gzip.NewWriter(&b), s)
	return base64.StdEncoding.EncodeToString(b.Bytes())
}

func write(t testing.TB, w io.WriteCloser, s string) {
	t.Helper()
	if _, err := io.WriteString(w, s); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// oldIn is `in` of 1.x: the data, and then the checksum of the plain bytes.
func oldIn(s *e2e.Store, key, content string, f oldForm) {
	s.T.Helper()
	s.Put("kvexpress/"+key+"/data", f.encode(s.T, content), f.flags)
	s.Put("kvexpress/"+key+"/checksum", e2e.Sum(content), 0)
}

// oldOut returns the file that `out` of 1.x would write: it reads the data, then the
// checksum, and compares.
func oldOut(s *e2e.Store, key string, z bool) (string, error) {
	s.T.Helper()
	data := s.Get("kvexpress/" + key + "/data")
	checksum := s.Get("kvexpress/" + key + "/checksum")
	if data == nil || checksum == nil {
		return "", fmt.Errorf("%s: a row is missing", key)
	}
	content := data.Value
	if z {
		var err error
		if content, err = oldDecompress(data); err != nil {
			return "", err
		}
	}
	if e2e.Sum(string(content)) != strings.TrimSpace(string(checksum.Value)) {
		return "", fmt.Errorf("%s: the checksum does not match", key)
	}
	return string(content), nil
}

func oldDecompress(data *e2e.Row) ([]byte, error) {
	switch data.Flags {
	case 0:
		packed, err := base64.StdEncoding.DecodeString(string(data.Value))
		if err != nil {
			return nil, err
		}
		r, err := gzip.NewReader(bytes.NewReader(packed))
		if err != nil {
			return nil, err
		}
		return io.ReadAll(r)
	case 1:
		return io.ReadAll(brotli.NewReader(bytes.NewReader(data.Value)))
	}
	return nil, fmt.Errorf("flags %d", data.Flags)
}

// oldReads wants 1.x to read this content.
func oldReads(s *e2e.Store, key string, z bool, want string) {
	s.T.Helper()
	got, err := oldOut(s, key, z)
	if err != nil {
		s.T.Errorf("1.x cannot read %s: %v", key, err)
	} else if got != want {
		s.T.Errorf("1.x reads %s, want %s", e2e.Brief(got), e2e.Brief(want))
	}
}

// oldLock is the path of the lock of a file in 1.x.
func oldLock(t testing.TB, file string) string {
	t.Helper()
	return "kvexpress/locks/" + e2e.Sum(file) + "/" + e2e.Hostname(t)
}
