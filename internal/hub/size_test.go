package hub_test

import (
	"strings"
	"testing"

	"kvexpress/internal/hub"
)

// A fleet has a hub more than its agents need.
func TestSizeHubs(t *testing.T) {
	for nodes, hubs := range map[int]int{1: 2, 1200: 2, 10_000: 2, 10_001: 3, 100_000: 11, hub.MaxNodes: 101} {
		n, err := hub.Size(hub.Fleet{Nodes: nodes, Keys: 1, Targets: 1, Size: 1024})
		if err != nil || n.Hubs != hubs || n.Most > 10_000 || n.Agents*n.Hubs < nodes || n.Most*(n.Hubs-1) < nodes {
			t.Errorf("%d nodes: %d hubs with %d agents each, %d with one hub less: %v", nodes, n.Hubs, n.Agents, n.Most, err)
		}
	}
}

// More of anything never needs less, except that more hubs share what they send.
func TestSizeGrows(t *testing.T) {
	fleet := hub.Fleet{Nodes: 5000, Keys: 50, Targets: 5, Size: 10_000, Hubs: 3}
	base, err := hub.Size(fleet)
	if err != nil {
		t.Fatal(err)
	}
	for name, more := range map[string]func(*hub.Fleet){
		"nodes": func(f *hub.Fleet) { f.Nodes *= 3 }, "keys": func(f *hub.Fleet) { f.Keys *= 3 },
		"targets": func(f *hub.Fleet) { f.Targets *= 10 }, "size": func(f *hub.Fleet) { f.Size *= 3 },
	} {
		f := fleet
		more(&f)
		n, err := hub.Size(f)
		if err != nil {
			t.Fatal(err)
		}
		if n.Memory <= base.Memory || n.Last < base.Last || n.HubCPU < base.HubCPU || n.Publish < base.Publish ||
			n.Receipts < base.Receipts || n.ConsulIdle < base.ConsulIdle || n.Proof < n.Last || n.Publish+n.Receipts > n.WithoutHubs {
			t.Errorf("more %s: %+v, before %+v", name, n, base)
		}
	}
	fleet.Hubs = 6
	if n, err := hub.Size(fleet); err != nil || n.Send > base.Send/2+10_000 || n.Publish <= base.Publish {
		t.Errorf("6 hubs: %+v, 3 hubs %+v: %v", n, base, err)
	}
}

func TestSizeLimits(t *testing.T) {
	good := hub.Fleet{Nodes: 10, Keys: 10, Targets: 10, Size: 10}
	for flag, bad := range map[string]func(*hub.Fleet){
		"--nodes": func(f *hub.Fleet) { f.Nodes = -1 }, "--keys": func(f *hub.Fleet) { f.Keys = 1 << 20 },
		"--targets": func(f *hub.Fleet) { f.Targets = 11 }, "--size": func(f *hub.Fleet) { f.Size = 1 << 30 },
	} {
		f := good
		bad(&f)
		if _, err := hub.Size(f); err == nil || !strings.Contains(err.Error(), flag) {
			t.Errorf("%s: %v", flag, err)
		}
	}
}
