package consul_test

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"kvexpress/internal/kv"
	"kvexpress/internal/store/consul"
)

// A token file is read again for each request. While it is missing or empty, the last token stays.
func TestTokenFileChanges(t *testing.T) {
	withoutEnvironment(t)
	sent := ""
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		sent = r.Header.Get("X-Consul-Token")
		answer(200, "application/json", rowAnswer)(w, r)
	})
	path := filepath.Join(t.TempDir(), "token")
	write := func(content string) error { return os.WriteFile(path, []byte(content), 0o600) }
	if err := write("first\n"); err != nil {
		t.Fatal(err)
	}
	s, err := consul.New(consul.Options{Addr: server.URL, TokenFile: path, Lasting: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		do   func() error
		want string
	}{
		{func() error { return nil }, "first"},
		{func() error { return write("second\n") }, "second"},
		{func() error { return write("") }, "second"},
		{func() error { return os.Remove(path) }, "second"},
		{func() error { return write("two\nlines") }, "second"},
		{func() error { return write("third") }, "third"},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Read(t.Context(), kv.Default, readPath); err != nil {
			t.Fatal(err)
		}
		if sent != step.want {
			t.Errorf("the token sent is %q, want %q", sent, step.want)
		}
	}
}
