package wire

import "context"

// Conn carries whole messages in order. One goroutine may read while another one writes; Close may be called by all. After
// a context ends during Read or Write, the connection is closed.
type Conn interface {
	Read(ctx context.Context) ([]byte, error)
	Write(ctx context.Context, message []byte) error
	// Close ends the connection at once. Read and Write return.
	Close() error
	// Peer is the address of the other side, for people.
	Peer() string
	// Names are in the client certificate of an agent, which the hub has verified: DNS names, then the common name.
	Names() []string
}
