package hub

import (
	"fmt"
	"net/http"

	"kvexpress/internal/embedded"
	"kvexpress/internal/embedded/consulapi"
	"kvexpress/internal/embedded/disk"
)

// openEngine opens the embedded store. A folder is open in one process at a time.
func openEngine(o *Options) (*embedded.Engine, error) {
	if o.Memory {
		return embedded.Open(embedded.Options{})
	}
	journal, err := disk.Open(o.DataDir)
	if err != nil {
		return nil, fmt.Errorf("open the store in %s: %w", o.DataDir, err)
	}
	return embedded.Open(embedded.Options{
		Journal: journal,
		Broken:  func(err error) { o.Log.Error("the store is broken; restart the hub", "error", oneLine(err)) },
	})
}

// api is Consul's HTTP API over the embedded store.
func (h *Hub) api() http.Handler {
	return consulapi.New(consulapi.Options{
		Engine: h.engine, ACL: h.access.acl, NodeName: h.o.Host, Datacenter: h.o.Datacenter, Address: h.Address(),
	})
}
