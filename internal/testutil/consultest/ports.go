package consultest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// Ports come in blocks of four, below the range that systems give to outgoing
// connections. The first one of a block is held by the test, on 127.0.0.1, for
// as long as the agent may be started again: so test programs that run at the
// same time cannot take each other's ports, and a block is free again when its
// test program has ended, in any way.
const (
	firstPort = 12_000
	blockSize = 4
	blocks    = 5_000
)

type ports struct {
	guard              net.Listener
	http, server, serf int
}

// takePorts finds a free block for an agent on the address bind.
func takePorts(ctx context.Context, bind string) (*ports, error) {
	return takePortsFrom(ctx, bind, rand.IntN(blocks))
}

// takePortsFrom tries a number of blocks, beginning with the given one.
func takePortsFrom(ctx context.Context, bind string, block int) (*ports, error) {
	var last error
	for i := range 200 {
		base := firstPort + (block+i)%blocks*blockSize
		guard, err := new(net.ListenConfig).Listen(ctx, "tcp", hostPort("127.0.0.1", base))
		if err != nil {
			last = err
			continue
		}
		p := &ports{guard: guard, http: base + 1, server: base + 2, serf: base + 3}
		if last = p.probe(ctx, bind); last == nil {
			return p, nil
		}
		p.release()
	}
	return nil, fmt.Errorf("no free ports on %s: %w", bind, last)
}

// probe says whether the agent could listen on its ports now.
func (p *ports) probe(ctx context.Context, bind string) error {
	var lc net.ListenConfig
	for _, port := range []int{p.http, p.server, p.serf} {
		l, err := lc.Listen(ctx, "tcp", hostPort(bind, port))
		if err != nil {
			return err
		}
		u, err := lc.ListenPacket(ctx, "udp", hostPort(bind, port))
		if err != nil {
			return errors.Join(err, l.Close())
		}
		if err := errors.Join(l.Close(), u.Close()); err != nil {
			return err
		}
	}
	return nil
}

func (p *ports) release() { _ = p.guard.Close() } // only a guard: nothing to lose

func hostPort(host string, port int) string {
	return net.JoinHostPort(host, strconv.Itoa(port))
}
