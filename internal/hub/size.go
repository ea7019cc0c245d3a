package hub

import (
	"fmt"
	"time"

	"kvexpress/internal/fleet"
	"kvexpress/internal/kv"
	"kvexpress/internal/wire"
)

// Fleet is a fleet that hubs serve. Every publish goes to all of its nodes.
type Fleet struct {
	Nodes   int  `json:"nodes"`
	Keys    int  `json:"keys"`    // in use
	Targets int  `json:"targets"` // files of one node
	Size    int  `json:"size"`    // of one file as it is stored, in bytes
	Plain   bool `json:"-"`       // without TLS
	Hubs    int  `json:"hubs"`    // 0: as many as the fleet needs
}

// Need is what a fleet needs. CPU is the time of one core, and a publish is of one key to all nodes.
type Need struct {
	Fleet
	Agents      int          `json:"agents"`             // of a hub
	Most        int          `json:"agents_most"`        // of a hub while another one is gone
	Memory      int64        `json:"memory_bytes"`       // of a hub with that many
	Send        int64        `json:"send_bytes"`         // by a hub for a publish
	HubCPU      fleet.Millis `json:"hub_cpu_ms"`         // of a hub for a publish and its receipts
	HubIdle     float64      `json:"hub_idle_cores"`     // of a hub without changes
	NodeCPU     fleet.Millis `json:"node_cpu_ms"`        // of a node for a publish
	Publish     fleet.Millis `json:"consul_publish_ms"`  // Consul's CPU for a publish
	Receipts    fleet.Millis `json:"consul_receipts_ms"` // Consul's CPU for its receipts
	WithoutHubs fleet.Millis `json:"consul_without_hubs_ms"`
	ConsulIdle  float64      `json:"consul_idle_cores"` // of Consul without changes
	Read        fleet.Millis `json:"read_ms"`           // from the publish until the hubs have its snapshot
	Last        fleet.Millis `json:"last_ms"`           // from the publish until the last file is in place
	Proof       fleet.Millis `json:"proof_ms"`          // from the publish until the hubs have all receipts
}

// The constants of the model. docs/scale.md says how they were measured.
const (
	agentsPerHub = 10_000
	hubCores     = 2
	network      = 125_000_000 // bytes a second of a hub: 1 Gbit/s

	// CPU of a hub.
	scanBase = 1200 * time.Microsecond // of a publish
	scanCPU  = 16 * time.Microsecond   // of a publish, for each key in use
	pushCPU  = 40 * time.Microsecond   // of a snapshot for an agent
	pushKiB  = 600 * time.Nanosecond   // of its data
	sealKiB  = 900 * time.Nanosecond   // of its data, for TLS
	takeCPU  = 260 * time.Microsecond  // of a receipt of an agent
	peerCPU  = 50 * time.Microsecond   // of a receipt that a peer took
	beatCPU  = 40 * time.Microsecond   // of a beat

	restCPU = 0.01 // cores, without agents

	// CPU and time of a node, for an install and its receipt.
	installCPU  = 1300 * time.Microsecond
	installTime = 10 * time.Millisecond

	// Memory of a hub, in bytes.
	hubMemory     = 24 << 20
	agentMemory   = 34 << 10
	sealMemory    = 20 << 10 // of a connection, for TLS
	targetMemory  = 1 << 10
	receiptMemory = 2 << 10   // every hub has the receipts of all nodes
	heldMost      = 256 << 20 // of the data of keys

	// CPU of Consul.
	consulPublish = 4600 * time.Microsecond
	consulHub     = 3600 * time.Microsecond // of a hub, for a publish
	consulKey     = 25 * time.Microsecond   // the same, for each key in use
	consulKiB     = 15 * time.Microsecond   // the same, for its data
	consulReceipt = 100 * time.Microsecond  // of a receipt in a batch
	consulRights  = 150 * time.Microsecond  // of a check of up to 64 rows, each minute
	consulDirect  = 480 * time.Microsecond  // of a node without a hub
	consulReports = 200 * time.Microsecond  // of its receipt

	// Time from the publish to the snapshot.
	readTime = 3500 * time.Microsecond
	readKey  = 11 * time.Microsecond // for each key in use
)

// ProofTime is from the last file until its receipt is at a hub that is not busy.
const ProofTime = 50 * time.Millisecond

// MaxNodes is the largest fleet that Size accepts.
const MaxNodes = 1_000_000

// Size computes what a fleet needs. An error names the number that is out of its limits.
func Size(f Fleet) (Need, error) {
	for _, limit := range []struct {
		flag    string
		is, top int
	}{
		{"nodes", f.Nodes, MaxNodes}, {"keys", f.Keys, 100_000}, {"size", f.Size, kv.MaxStored},
		{"targets", f.Targets, min(f.Keys, wire.MaxTargets)},
	} {
		if limit.is < 1 || limit.is > limit.top {
			return Need{}, fmt.Errorf("--%s %d is out of range; give a number from 1 to %d", limit.flag, limit.is, limit.top)
		}
	}
	if f.Hubs == 0 {
		f.Hubs = 1 + share(f.Nodes, agentsPerHub)
	}
	n := Need{Fleet: f, Agents: share(f.Nodes, f.Hubs), Most: share(f.Nodes, max(1, f.Hubs-1)), NodeCPU: fleet.Millis(installCPU)}
	push, take := n.hub()
	n.consul()
	sending := time.Duration(float64(n.Send) / network * float64(time.Second))
	read := readTime + times(f.Keys, readKey)
	last := read + max(push/hubCores, sending) + installTime
	n.Read, n.Last, n.Proof = fleet.Millis(read), fleet.Millis(last), fleet.Millis(max(last, read+(push+take)/hubCores)+ProofTime)
	return n, nil
}

// hub computes what each hub needs, and its CPU for the snapshots and for the receipts of a publish.
func (n *Need) hub() (push, take time.Duration) {
	perKiB, perAgent := pushKiB+sealKiB, int64(agentMemory+sealMemory)
	if n.Plain {
		perKiB, perAgent = pushKiB, agentMemory
	}
	n.Send = int64(n.Agents) * int64(n.Size)
	push = scanBase + times(n.Keys, scanCPU) + times(n.Agents, pushCPU) + kib(n.Send, perKiB)
	take = times(n.Agents, takeCPU) + times(n.Nodes-n.Agents, peerCPU)
	n.HubCPU = fleet.Millis(push + take)
	n.HubIdle = restCPU + times(n.Agents, beatCPU).Seconds()/wire.BeatEvery.Seconds()
	n.Memory = hubMemory + int64(n.Most)*(perAgent+int64(n.Targets)*targetMemory) + int64(n.Nodes)*receiptMemory +
		min(int64(n.Keys)*int64(n.Size), heldMost)
	return push, take
}

// consul computes what Consul needs.
func (n *Need) consul() {
	perHub := consulHub + times(n.Keys, consulKey) + kib(int64(n.Size), consulKiB)
	n.Publish = fleet.Millis(consulPublish + times(n.Hubs, perHub))
	n.Receipts = fleet.Millis(times(n.Nodes, consulReceipt))
	n.WithoutHubs = fleet.Millis(consulPublish + times(n.Nodes, consulDirect+consulReports))
	const rows = 5 // of a target: data, checksum, manifest, stop and lock
	n.ConsulIdle = times(n.Nodes*share(rows*n.Targets+1, kv.MaxOps), consulRights).Minutes()
}

// share is n divided by a number of parts, rounded up.
func share(n, parts int) int { return (n + parts - 1) / parts }

func times(n int, d time.Duration) time.Duration { return time.Duration(n) * d }

func kib(bytes int64, d time.Duration) time.Duration {
	return time.Duration(float64(bytes) / 1024 * float64(d))
}
