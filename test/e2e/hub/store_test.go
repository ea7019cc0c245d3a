//go:build linux

package hub

import (
	"net/http"
	"testing"
	"time"

	"kvexpress/internal/kv"
	"kvexpress/internal/outcome"
	"kvexpress/test/e2e"
)

// A lock that was acknowledged before a publish holds: the version is never installed while it is locked.
func TestLockBeforePublish(t *testing.T) {
	t.Parallel()
	x := start(t)
	h := x.Hub("hub")
	x.Publish("hosts", e2e.Version(0))
	locked, free := node(x, "locked", nil, h.Addr), node(x, "free", nil, h.Addr)
	lock := x.Layout.Lock(x.Path("locked-hosts"), e2e.Hostname(t))
	both := func(n int) {
		t.Helper()
		locked.Delivers("locked-hosts", e2e.Version(n))
		free.Delivers("free-hosts", e2e.Version(n))
	}
	both(0)
	for n := 1; n <= e2e.Times(400); n++ {
		if _, err := x.Client.Commit(t.Context(), []kv.Op{{Verb: kv.Set, Path: lock, Value: []byte("looking")}}); err != nil {
			t.Fatal(err)
		}
		x.Publish("hosts", e2e.Version(n))
		free.Delivers("free-hosts", e2e.Version(n))
		locked.Becomes("locked-hosts", outcome.Locked)
		x.Holds("locked-hosts", e2e.Version(n-1))
		x.Store.Remove(lock)
		both(n)
	}
	if s := locked.Status(); s.Requests > late {
		t.Errorf("the agent made %d requests to the store", s.Requests)
	}
	if installs := locked.Target("locked-hosts").Counts.Installs; installs != uint64(e2e.Times(400)+1) {
		t.Errorf("%d installs of %d versions", installs, e2e.Times(400)+1)
	}
}

// A key is deleted and made again, and the store goes back to a snapshot. The file follows, or stays, as with Consul itself.
func TestStoreGoesBack(t *testing.T) {
	t.Parallel()
	x := start(t)
	h := x.Hub("hub")
	x.Publish("hosts", e2e.Version(1))
	d := node(x, "web-1", nil, h.Addr)
	d.Delivers("web-1-hosts", e2e.Version(1))

	for n := 2; n <= 4; n++ {
		if status, answer := x.Store.Request(http.MethodDelete, "/v1/kv/kvexpress/hosts/?recurse", nil); status != http.StatusOK {
			t.Fatalf("%d %s", status, answer)
		}
		d.Becomes("web-1-hosts", outcome.Missing)
		x.Holds("web-1-hosts", e2e.Version(n-1))
		x.Publish("hosts", e2e.Version(n))
		d.Delivers("web-1-hosts", e2e.Version(n))
	}

	status, snapshot := x.Store.Request(http.MethodGet, "/v1/snapshot", nil)
	if status != http.StatusOK {
		t.Fatalf("%d %s", status, snapshot)
	}
	x.Publish("hosts", e2e.Version(5))
	x.Publish("hosts", e2e.Version(6))
	d.Delivers("web-1-hosts", e2e.Version(6))
	if status, answer := x.Store.Request(http.MethodPut, "/v1/snapshot", snapshot); status != http.StatusOK {
		t.Fatalf("%d %s", status, answer)
	}
	took := e2e.Within(t, 2*time.Minute, "the file follows the restored store", func() bool { return x.Read("web-1-hosts") == e2e.Version(4) })
	t.Logf("the restored version is in place after %v", took.Round(time.Second))
	says(d, "went back")
	x.Publish("hosts", e2e.Version(7))
	d.Delivers("web-1-hosts", e2e.Version(7))
	if s := d.Status(); s.Requests > late {
		t.Errorf("the agent made %d requests to the store", s.Requests)
	}
}
