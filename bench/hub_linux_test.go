package bench

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"testing"
	"time"

	"kvexpress/bench/internal/floor"
	"kvexpress/internal/testutil/consultest"
)

// The kinds of nodes that follow a hub.
const (
	hubTogether     kind = "hub, one process"               // agents
	hubReporting    kind = "hub with receipts, one process" // agents
	hubBareTogether kind = "hub bare, one process"          // clients that only write and rename
	hubIdle         kind = "hub idle, one process"          // clients that connect again and again, and write nothing
	socketsTogether kind = "sockets, one process"           // the same without a protocol
)

// BenchmarkHub: 1,200 agents in one process through a hub, and without one.
func BenchmarkHub(b *testing.B) {
	nodes, blocks := number(b, "KVEXPRESS_BENCH_NODES", 1200), number(b, roundsEnv, 3)
	comparison{kinds: []kind{hubTogether, oursTogether}, nodes: nodes, warm: 2, changes: 7, blocks: blocks}.run(b)
}

// BenchmarkHubReceipts: the same with receipts.
func BenchmarkHubReceipts(b *testing.B) {
	nodes, blocks := number(b, "KVEXPRESS_BENCH_NODES", 1200), number(b, roundsEnv, 3)
	comparison{kinds: []kind{hubReporting, oursReporting}, nodes: nodes, warm: 2, changes: 7, blocks: blocks,
		pause: 6 * time.Second}.run(b)
}

// BenchmarkHubBare: 1,200 clients that only write and rename: of a hub, of Consul, and of bare sockets.
func BenchmarkHubBare(b *testing.B) {
	nodes, blocks := number(b, "KVEXPRESS_BENCH_NODES", 1200), number(b, roundsEnv, 3)
	comparison{kinds: []kind{hubBareTogether, floorRawTogether, socketsTogether}, nodes: nodes, warm: 2, changes: 7, blocks: blocks}.run(b)
}

// through reports whether nodes of a kind follow a hub.
func (k kind) through() bool { return k == hubTogether || k == hubReporting || k == hubBareTogether }

// startHub runs a hub for a fleet.
func (t tools) startHub(b *testing.B, consul, dir string, args ...string) (*consultest.Process, string) {
	b.Helper()
	log := filepath.Join(dir, fmt.Sprintf("hub-%d.log", time.Now().UnixNano()))
	if !slices.Contains(args, "--listen") {
		args = append(args, "--listen", "127.0.0.1:0")
	}
	args = append([]string{"hub", "-s", consul, "-p", prefix}, args...)
	p, err := consultest.StartProcess(t.kvexpress, args, append(os.Environ(), "KVEXPRESS_SYSLOG=off"), "", log)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { p.End(os.Interrupt) })
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		said, _ := os.ReadFile(log)
		if found := regexp.MustCompile(`listening on (127[.0-9]+:[0-9]+)`).FindSubmatch(said); found != nil {
			return p, string(found[1])
		}
	}
	b.Fatalf("the hub does not listen: see %s", log)
	return nil, ""
}

// sockets push content over bare connections: four bytes of length, then the content.
type sockets struct {
	net.Listener
	mu    sync.Mutex
	last  []byte
	conns []net.Conn
}

func listen(b *testing.B) *sockets {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	s := &sockets{Listener: l}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns = append(s.conns, c)
			_, _ = c.Write(s.last)
			s.mu.Unlock()
		}
	}()
	return s
}

func (s *sockets) push(content []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = append(binary.BigEndian.AppendUint32(nil, uint32(len(content))), content...)
	for _, c := range s.conns {
		_, _ = c.Write(s.last) // small enough for the buffer of the connection
	}
}

// receive is a client of sockets.
func receive(ctx context.Context, addr, file string) error {
	c, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { c.Close() })()
	var head [4]byte
	for {
		if _, err := io.ReadFull(c, head[:]); err != nil {
			return err
		}
		content := make([]byte, binary.BigEndian.Uint32(head[:]))
		if _, err := io.ReadFull(c, content); err != nil {
			return err
		}
		if err := floor.Install(file, content); err != nil {
			return err
		}
	}
}
