//go:build linux

package lab

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
)

// The ports of Consul are the usual ones, since each agent has an address of its own.
const (
	httpPort = 8500
	rpcPort  = 8300
	serfPort = 8301
	// dnsPort is that of each dnsmasq, where the lab may use it; else it is
	// highDNSPort.
	dnsPort     = 53
	highDNSPort = 5353
)

// Addresses: servers from .1, nodes from .11. Two of these do not overlap below 10 servers
// and 240 nodes.
const (
	firstServer = 1
	firstNode   = 11
	// MaxServers and MaxNodes are how many addresses there are for them.
	MaxServers = 10
	MaxNodes   = 240
)

// network is 256 addresses in 127.0.0.0/8 that nobody else listens on.
type network struct {
	prefix [3]byte
	dns    int            // port of dnsmasq
	guards []net.Listener // keep other labs out
}

// takeNetwork finds one. It is free again after release, or when this process is gone.
func takeNetwork(ctx context.Context) (*network, error) {
	var last error
	for range 50 {
		n := &network{prefix: [3]byte{127, byte(1 + rand.IntN(254)), byte(rand.IntN(256))}, dns: dnsPort}
		var lc net.ListenConfig
		// Nobody but a lab uses the last address; the others are looked at.
		guard, err := lc.Listen(ctx, "tcp", n.hostPort(255-1, httpPort))
		if err != nil {
			last = err
			continue
		}
		n.guards = append(n.guards, guard)
		if last = n.probe(ctx); last == nil {
			return n, nil
		}
		n.release()
	}
	return nil, fmt.Errorf("no free addresses in 127.0.0.0/8: %w", last)
}

// probe says whether a server and a node could listen now, and finds the port of DNS.
func (n *network) probe(ctx context.Context) error {
	var lc net.ListenConfig
	for _, host := range []int{firstServer, firstNode} {
		l, err := lc.Listen(ctx, "tcp", n.hostPort(host, httpPort))
		if err != nil {
			return err
		}
		if err := l.Close(); err != nil {
			return err
		}
	}
	for _, port := range []int{dnsPort, highDNSPort} {
		l, err := lc.ListenPacket(ctx, "udp", n.hostPort(firstNode, port))
		if err == nil {
			n.dns = port
			return l.Close()
		}
	}
	return errors.New("no port for dnsmasq")
}

func (n *network) release() {
	for _, g := range n.guards {
		_ = g.Close() // only a guard: nothing to lose
	}
}

func (n *network) addr(host int) netip.Addr {
	return netip.AddrFrom4([4]byte{n.prefix[0], n.prefix[1], n.prefix[2], byte(host)})
}

func (n *network) hostPort(host, port int) string {
	return net.JoinHostPort(n.addr(host).String(), strconv.Itoa(port))
}
