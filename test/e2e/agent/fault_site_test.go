//go:build linux

package agent

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"kvexpress/internal/hold"
	"kvexpress/test/e2e"
)

func freezer(x *e2e.Site) hold.Freezer {
	host, err := os.Hostname()
	if err != nil {
		x.T.Fatal(err)
	}
	return hold.Freezer{Recorder: hold.Recorder{Store: x.Client, Layout: x.Layout}, Host: host}
}

// hashes makes an exec that notes the SHA-256 of the files at the moment it runs.
func hashes(x *e2e.Site, name string, files ...string) string {
	x.T.Helper()
	var paths []string
	for _, f := range files {
		paths = append(paths, x.Path(f))
	}
	return x.Script(name+".sh", "exec sha256sum "+strings.Join(paths, " ")+" >>"+x.Path(name+".ran")+"\n")
}

// runsOf is for which bytes of a file such an exec ran, in order.
func runsOf(x *e2e.Site, name, file string) []string {
	x.T.Helper()
	var all []string
	for _, line := range strings.Split(x.Read(name+".ran"), "\n") {
		if sha, path, ok := strings.Cut(line, "  "); ok && path == x.Path(file) {
			all = append(all, sha)
		}
	}
	return all
}

// ranLast reports whether the last run of such an exec was for this content.
func ranLast(x *e2e.Site, name, file, content string) bool {
	x.T.Helper()
	all := runsOf(x, name, file)
	return len(all) > 0 && all[len(all)-1] == e2e.Sum(content)
}

// litter lists staged files that were left behind, of targets and of the state.
func litter(x *e2e.Site) []string {
	x.T.Helper()
	var all []string
	err := filepath.WalkDir(x.Dir, func(path string, _ os.DirEntry, err error) error {
		if base := filepath.Base(path); err == nil && (strings.HasSuffix(base, ".kvexpress") || strings.HasSuffix(base, ".new")) {
			all = append(all, path)
		}
		return nil // a file that was removed in between is no litter
	})
	if err != nil {
		x.T.Fatal(err)
	}
	return all
}

// loop does something again and again in the background. The function that it
// returns ends that, and waits for it.
func loop(t testing.TB, do func(ctx context.Context, i int)) (end func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var one sync.WaitGroup
	one.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			do(ctx, i)
		}
	})
	end = sync.OnceFunc(func() { cancel(); one.Wait() })
	t.Cleanup(end)
	return end
}

// config writes the configuration of an agent of this site that asks the stores at
// addrs; none is the site's server.
func agentConfig(x *e2e.Site, name string, addrs []string, targets ...e2e.Fields) {
	x.T.Helper()
	x.ConfigWith(name, e2e.Fields{}, addrs, targets...)
}

// to is a target that puts a key into a file of the same name, with more fields.
func to(x *e2e.Site, key string, more ...e2e.Fields) e2e.Fields {
	f := e2e.Fields{"key": key, "file": x.Path(key)}
	for _, m := range more {
		for k, v := range m {
			f[k] = v
		}
	}
	return f
}

// remove removes a file of the machine.
func remove(x *e2e.Site, name string) {
	x.T.Helper()
	if err := os.Remove(x.Path(name)); err != nil {
		x.T.Fatal(err)
	}
}
