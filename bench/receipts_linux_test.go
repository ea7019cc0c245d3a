package bench

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"kvexpress/internal/agent"
	kvfleet "kvexpress/internal/fleet"
	"kvexpress/internal/kv"
)

const (
	nodesEnv  = "KVEXPRESS_BENCH_NODES"  // how many nodes, or receipts, there are
	roundsEnv = "KVEXPRESS_BENCH_ROUNDS" // how many rounds of each side
)

// receiptLog is where a fleet in one process notes the receipts that it wrote, so that
// nobody has to ask the store for them: a watch of all receipts would be most of its
// work.
type receiptLog struct {
	dir string // of receipts in the store
	out *os.File
}

func newReceiptLog(s site) (*receiptLog, error) {
	layout, err := kv.NewLayout(prefix)
	if err != nil {
		return nil, err
	}
	out, err := os.OpenFile(receiptsFile(s), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	return &receiptLog{layout.NodesDir(), out}, err
}

func receiptsFile(s site) string { return filepath.Join(s.Base, "receipts") }

// of is a store whose receipts are noted.
func (l *receiptLog) of(s agent.Store) agent.Store {
	if l == nil {
		return s
	}
	return notedStore{s, l}
}

type notedStore struct {
	agent.Store
	log *receiptLog
}

// Commit notes a receipt: when it was written, which bytes it speaks of, by whom.
func (s notedStore) Commit(ctx context.Context, ops []kv.Op) (map[string]uint64, error) {
	written, err := s.Store.Commit(ctx, ops)
	node, ours := strings.CutPrefix(ops[0].Path, s.log.dir)
	if err != nil || !ours {
		return written, err
	}
	_, sum, _ := bytes.Cut(ops[0].Value, []byte(`"sha256":"`))
	sum, _, _ = bytes.Cut(sum, []byte(`"`))
	_, err = fmt.Fprintf(s.log.out, "%d %s %s %d\n", time.Now().UnixNano(), sum, node, len(ops[0].Value))
	return written, err
}

// obey turns receipts on and off as the bench says, by signals.
func (c *child) obey(ctx context.Context) error {
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGUSR1, syscall.SIGUSR2)
	defer signal.Stop(told)
	for {
		select {
		case <-ctx.Done():
			return nil
		case s := <-told:
			for _, n := range c.ours {
				if err := n.report(s == syscall.SIGUSR2); err != nil {
					return err
				}
			}
		}
	}
}

// reporting is a fleet whose nodes report, in one process, and the receipts that were
// noted so far.
type reporting struct {
	*running
	noted *os.File
	half  string // a line that is not whole yet
	last  map[string]map[string]time.Time
}

// beginReporting starts one. The pause after a change is long enough for receipts.
func (t tools) beginReporting(b *testing.B, addr string, nodes int, pub *publisher) *reporting {
	b.Helper()
	s, targets := newSite(b, addr, nodes)
	s.Receipts = true
	write(b, receiptsFile(s), nil)
	noted, err := os.Open(receiptsFile(s))
	if err != nil {
		b.Fatal(err)
	}
	r := &reporting{running: t.beginAt(b, oursTogether, s, targets, pub), noted: noted, last: map[string]map[string]time.Time{}}
	r.pause = 0
	r.receipts(pub.latest()) // of the first install
	return r
}

func (r *reporting) end() {
	r.running.end()
	r.noted.Close()
}

// receipts waits until all nodes have told that they have the content, and returns when
// the last one had.
func (r *reporting) receipts(content []byte) time.Time {
	r.b.Helper()
	hash := sha256.Sum256(content)
	sum := hex.EncodeToString(hash[:])
	for deadline := time.Now().Add(landLimit); ; time.Sleep(20 * time.Millisecond) {
		r.read()
		if len(r.last[sum]) == r.site.Nodes {
			var last time.Time
			for _, at := range r.last[sum] {
				if at.After(last) {
					last = at
				}
			}
			return last
		}
		if time.Now().After(deadline) {
			r.b.Fatalf("%d of %d nodes reported within %v\n%s", len(r.last[sum]), r.site.Nodes, landLimit, r.fleet.lastWords())
		}
	}
}

// read takes in what was noted meanwhile. Only a node's first receipt of some bytes
// counts: later ones are heartbeats.
func (r *reporting) read() {
	r.b.Helper()
	var more bytes.Buffer
	if _, err := more.ReadFrom(r.noted); err != nil {
		r.b.Fatal(err)
	}
	text := r.half + more.String()
	whole := strings.LastIndexByte(text, '\n') + 1
	r.half = text[whole:]
	for line := range strings.Lines(text[:whole]) {
		var ns int64
		var sum, node string
		var size int
		if _, err := fmt.Sscan(line, &ns, &sum, &node, &size); err != nil {
			continue // a node that has nothing yet
		}
		if r.last[sum] == nil {
			r.last[sum] = map[string]time.Time{}
		}
		if r.last[sum][node].IsZero() {
			r.last[sum][node] = time.Unix(0, ns)
		}
	}
}

// report turns receipts of all nodes on or off.
func (r *reporting) report(on bool) {
	r.b.Helper()
	s := syscall.SIGUSR1
	if on {
		s = syscall.SIGUSR2
	}
	if err := r.fleet.procs[0].cmd.Process.Signal(s); err != nil {
		r.b.Fatal(err)
	}
	time.Sleep(500 * time.Millisecond)
}

// counting makes a publisher tell nodes how many they are, as `kvexpress in` does.
func (p *publisher) counting() *publisher {
	p.Nodes = func(ctx context.Context) int { return kvfleet.Count(ctx, p.Store, p.Layout) }
	return p
}

// latest is what content gave last.
func (p *publisher) latest() []byte { return hosts(p.n) }
