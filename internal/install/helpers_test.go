package install_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"kvexpress/internal/embedded"
	"kvexpress/internal/install"
	"kvexpress/internal/kv"
	"kvexpress/internal/publish"
	"kvexpress/internal/record"
	"kvexpress/internal/rollout"
)

const hosts = kv.Key("hosts")

const nobody = 65534

// times is full in a soak, and a tenth of it otherwise.
func times(full int) int {
	if os.Getenv("KVEXPRESS_SOAK") == "1" {
		return full
	}
	return max(1, full/10)
}

// needRoot skips a test that only root can run, but not where all tests must run.
func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatal("this test must run as root in CI")
	}
	t.Skip("SKIPPED: only root can make this fault")
}

// scratch is a folder for files whose durability does not matter: in memory, if
// there is such a place.
func scratch(t testing.TB) string {
	t.Helper()
	if _, err := os.Stat("/dev/shm"); err != nil {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp("/dev/shm", "deliver-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// lines is content that begins with a name: n lines of it.
func lines(name string, n int) []byte {
	var b bytes.Buffer
	for i := range n {
		fmt.Fprintf(&b, "%s line %d\n", name, i)
	}
	return b.Bytes()
}

// node is a store, and one node with one target.
type node struct {
	t        testing.TB
	store    kv.Store
	layout   kv.Layout
	stateDir string
	dir      string // of the target
	log      string // where the exec writes the SHA-256 of the bytes that it ran for
	target   install.Target
	offer    *rollout.Offer // of its hub; nil: it reads the store itself
}

// newNode makes a node below base, with a target with check and exec. Nothing is
// published or installed.
func newNode(t testing.TB, base string) *node {
	t.Helper()
	layout, err := kv.NewLayout("kvexpress")
	if err != nil {
		t.Fatal(err)
	}
	n := &node{
		t: t, store: embedded.New(), layout: layout, dir: filepath.Join(base, "etc"),
		stateDir: filepath.Join(base, "state"), log: filepath.Join(base, "exec.log"),
	}
	mkdir(t, n.dir)
	n.target = install.Target{
		Key: hosts, File: filepath.Join(n.dir, "hosts"), MinLines: 1,
		Check:        []string{"test", "-s", install.FileMark},
		Exec:         n.appendSHA(),
		CheckTimeout: time.Minute, ExecTimeout: time.Minute,
	}
	return n
}

// appendSHA is an exec that writes the SHA-256 that it ran for.
func (n *node) appendSHA() []string {
	return []string{"/bin/sh", "-c", `echo "$KVEXPRESS_SHA256" >>"$0"`, n.log}
}

// base is the folder that all files of a node are below.
func (n *node) base() string { return filepath.Dir(n.stateDir) }

// script is an exec that runs a shell script; $log is the log.
func (n *node) script(text string) []string {
	return []string{"/bin/sh", "-c", `log=$0; ` + text, n.log}
}

func (n *node) publish(content []byte) publish.Result {
	n.t.Helper()
	return n.publishAs(hosts, content)
}

func (n *node) publishAs(key kv.Key, content []byte) publish.Result {
	n.t.Helper()
	p := &publish.Publisher{Store: n.store, Layout: n.layout, By: "ann@build"}
	res, err := p.Publish(context.Background(), publish.Request{Key: key, Content: content, IgnoreStop: true})
	if err != nil {
		n.t.Fatal(err)
	}
	return res
}

// put writes one row of the store.
func (n *node) put(path, value string, flags uint64) {
	n.t.Helper()
	n.commit(kv.Op{Verb: kv.Set, Path: path, Value: []byte(value), Flags: flags})
}

func (n *node) remove(path string) {
	n.t.Helper()
	n.commit(kv.Op{Verb: kv.Delete, Path: path})
}

func (n *node) commit(ops ...kv.Op) {
	n.t.Helper()
	if _, err := n.store.Commit(context.Background(), ops); err != nil {
		n.t.Fatal(err)
	}
}

// rows is all that the store holds.
func (n *node) rows() map[string]kv.Entry {
	n.t.Helper()
	paths, err := n.store.Keys(context.Background(), "")
	if err != nil {
		n.t.Fatal(err)
	}
	rows := make(map[string]kv.Entry)
	for part := range slices.Chunk(paths, kv.MaxOps) {
		snap, err := n.store.Read(context.Background(), kv.Default, part...)
		if err != nil {
			n.t.Fatal(err)
		}
		for path, row := range snap {
			rows[path] = row
		}
	}
	return rows
}

// job is this node's delivery as a task for a child process.
func (n *node) job() job {
	return job{Rows: n.rows(), Target: n.target, StateDir: n.stateDir, Offer: n.offer}
}

func (n *node) deliverer(hook install.FaultHook) *install.Installer {
	return &install.Installer{Store: hubView(n.store, n.layout, n.offer), Layout: n.layout, Host: "node", StateDir: n.stateDir, Fault: hook}
}

func (n *node) deliver(hook install.FaultHook) (install.Result, error) {
	return n.deliverer(hook).Install(context.Background(), n.target)
}

// must delivers, and wants this outcome.
func (n *node) must(want install.Action) install.Result {
	n.t.Helper()
	res, err := n.deliver(nil)
	if err != nil || res.Action != want {
		n.t.Fatalf("deliver: %q, %v; want %q", res.Action, err, want)
	}
	return res
}

// steps records the steps of one delivery, with any result.
func (n *node) steps() []install.FaultPoint {
	var seen []install.FaultPoint
	_, _ = n.deliver(func(s install.FaultPoint) error { seen = append(seen, s); return nil })
	return seen
}

var errBoom = errors.New("boom")

// failAt is a hook that fails the step with this number, counted from 1.
func failAt(number int) install.FaultHook {
	var n atomic.Int64
	return func(install.FaultPoint) error {
		if n.Add(1) == int64(number) {
			return errBoom
		}
		return nil
	}
}

// content is the content of the file; nil if there is none.
func (n *node) content() []byte {
	n.t.Helper()
	return read(n.t, n.target.File)
}

// execs lists the SHA-256s that the exec ran for, in order.
func (n *node) execs() []string {
	n.t.Helper()
	return strings.Fields(string(read(n.t, n.log)))
}

// savedState has the fields of a state file that tests check.
type savedState struct {
	Installed struct {
		SHA256  string `json:"sha256"`
		Version uint64 `json:"version"`
		Rollout string `json:"rollout"`
	} `json:"installed"`
	Executed  string          `json:"executed"`
	Overwrite json.RawMessage `json:"overwrite"`
}

// stateFile is the path of the only state file; "" if there is none.
func (n *node) stateFile() string {
	n.t.Helper()
	names := list(n.t, filepath.Join(n.stateDir, "targets"))
	if len(names) == 0 {
		return ""
	}
	return filepath.Join(n.stateDir, "targets", names[0])
}

// torn lists faults, unless the file has one of these contents, whole. nil means
// that the file may be missing.
func (n *node) torn(allowed ...[]byte) (broken []string) {
	n.t.Helper()
	now := n.content()
	if !slices.ContainsFunc(allowed, func(c []byte) bool { return bytes.Equal(now, c) && (now == nil) == (c == nil) }) {
		broken = append(broken, fmt.Sprintf("the file has %d bytes that were never published", len(now)))
	}
	return broken
}

// left lists leftovers of a run.
func (n *node) left() (broken []string) {
	n.t.Helper()
	for _, dir := range []string{n.dir, n.stateDir, filepath.Join(n.stateDir, "targets")} {
		for _, name := range list(n.t, dir) {
			if strings.HasPrefix(name, ".") || strings.HasSuffix(name, ".new") {
				broken = append(broken, "left behind: "+filepath.Join(dir, name))
			}
		}
	}
	return broken
}

// unsettled lists every promise that is broken after a successful delivery of content,
// whatever failed before.
func (n *node) unsettled(want []byte) []string {
	n.t.Helper()
	broken := append(n.torn(want), n.left()...)
	sha := record.Checksum(want)
	if ran := n.execs(); len(ran) == 0 || ran[len(ran)-1] != sha {
		broken = append(broken, "the exec did not run for the bytes on disk")
	}
	var s savedState
	if path := n.stateFile(); path == "" {
		broken = append(broken, "there is no state")
	} else if err := json.Unmarshal(read(n.t, path), &s); err != nil {
		broken = append(broken, "the state is damaged")
	}
	if s.Installed.SHA256 != sha || s.Executed != sha || s.Overwrite != nil {
		broken = append(broken, fmt.Sprintf("the state says installed %.8s, executed %.8s, pending %s; the file has %.8s",
			s.Installed.SHA256, s.Executed, s.Overwrite, sha))
	}
	return broken
}

// settle delivers, and finds no promise broken.
func (n *node) settle(want []byte) {
	n.t.Helper()
	if _, err := n.deliver(nil); err != nil {
		n.t.Errorf("the delivery after it: %v", err)
	}
	for _, b := range n.unsettled(want) {
		n.t.Error(b)
	}
	ran := len(n.execs())
	if res, err := n.deliver(nil); err != nil || res.Action != install.Unchanged || len(n.execs()) != ran {
		n.t.Errorf("a delivery with nothing to do: %q, %v, %d execs", res.Action, err, len(n.execs())-ran)
	}
}

func mkdir(t testing.TB, path string) {
	t.Helper()
	if err := os.MkdirAll(path, 0o755); err != nil {
		t.Fatal(err)
	}
}

func write(t testing.TB, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

// read is the content of a file; nil if there is none.
func read(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return b
}

// list names the entries of a folder; none if there is no folder.
func list(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
