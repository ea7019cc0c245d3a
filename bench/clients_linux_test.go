package bench

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"os"
	"strconv"
	"time"

	"kvexpress/bench/internal/floor"
	"kvexpress/internal/wire"
)

// bare is a client of a hub without an agent's checks, state and decisions.
type bare struct {
	wire.Dialer
	hub  string
	file string // "": what comes is dropped
	i    int
}

// run follows the hub until ctx or the connection ends.
func (c bare) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	conn, err := c.Dial(ctx, c.hub)
	if err != nil {
		return err
	}
	defer conn.Close()
	hello, err := wire.Encode(wire.FromAgent{Hello: &wire.Hello{Node: "n" + strconv.Itoa(c.i), Host: "bench", Prefix: prefix,
		Targets: []wire.Target{{Key: string(key), Files: []string{"/etc/hosts"}}}}})
	if err != nil {
		return err
	}
	if err := conn.Write(ctx, hello); err != nil {
		return err
	}
	go beats(ctx, conn)
	for {
		b, err := conn.Read(ctx)
		if err != nil {
			return err
		}
		m, err := wire.DecodeFromHub(b)
		if err != nil {
			return err
		}
		if m.Snapshot == nil || c.file == "" {
			continue
		}
		for _, r := range m.Snapshot.Rows {
			if r.Name == wire.DataRow {
				if err := floor.Install(c.file, r.Value); err != nil {
					return err
				}
			}
		}
	}
}

func beats(ctx context.Context, conn wire.Conn) {
	beat, _ := wire.Encode(wire.FromAgent{Beat: &wire.Beat{}})
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wire.BeatEvery):
		}
		if conn.Write(ctx, beat) != nil {
			return
		}
	}
}

// newIdle makes a client that writes nothing, and connects again at once.
func newIdle(s site, i int) (func(context.Context) error, error) {
	c := bare{hub: s.Hub, i: i}
	if s.CA != "" {
		authority, err := os.ReadFile(s.CA)
		if err != nil {
			return nil, err
		}
		c.TLS = &tls.Config{RootCAs: x509.NewCertPool()}
		c.TLS.RootCAs.AppendCertsFromPEM(authority)
	}
	return func(ctx context.Context) error {
		for ctx.Err() == nil {
			_ = c.run(ctx) // the hub may be gone
			select {
			case <-ctx.Done():
			case <-time.After(20 * time.Millisecond):
			}
		}
		return ctx.Err()
	}, nil
}

// insecure is for reading a hub's metrics: benchmarks talk only to their own hubs.
func insecure() *tls.Config { return &tls.Config{InsecureSkipVerify: true} }
