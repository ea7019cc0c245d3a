package demo_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kvexpress/internal/demo"
)

// Verify finds each fault.
func TestVerify(t *testing.T) {
	content := demo.Hosts(3)
	for name, tt := range map[string]struct {
		spoil func(dir string) error
		want  string // in the error; "": there is none
	}{
		"good":           {func(string) error { return nil }, ""},
		"another file":   {func(dir string) error { return os.WriteFile(dir+"/hosts", demo.Hosts(3, 2), 0o600) }, "its file"},
		"no file":        {func(dir string) error { return os.Remove(dir + "/hosts") }, "its file"},
		"an old reload":  {func(dir string) error { return os.WriteFile(dir+"/reloaded", demo.Hosts(2), 0o600) }, "exec"},
		"no reload":      {func(dir string) error { return os.Remove(dir + "/reloaded") }, "exec"},
		"something left": {func(dir string) error { return os.WriteFile(dir+"/.hosts.staged", nil, 0o600) }, ".hosts.staged is left"},
	} {
		t.Run(name, func(t *testing.T) {
			f := &demo.Fleet{}
			var last string
			for _, name := range []string{"node-01", "node-02"} {
				last = filepath.Join(t.TempDir(), name)
				f.Nodes = append(f.Nodes, demo.NodeIn(last))
				if err := os.MkdirAll(last+"/state", 0o700); err != nil {
					t.Fatal(err)
				}
				for _, file := range []string{"/hosts", "/reloaded"} {
					if err := os.WriteFile(last+file, content, 0o600); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err := tt.spoil(last); err != nil {
				t.Fatal(err)
			}
			err := f.Verify(content)
			if tt.want == "" && err != nil || tt.want != "" &&
				(err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "node-02")) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}
