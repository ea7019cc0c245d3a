package httpd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"kvexpress/internal/atomicfile"
)

// socketMode lets the group connect.
const socketMode = 0o660

// Limits for the lookup of a host name, and for a connection to a socket.
const (
	lookupLimit = 5 * time.Second
	dialLimit   = time.Second
)

// maxSocketPath is the longest path of a socket, in bytes.
const maxSocketPath = len(syscall.RawSockaddrUnix{}.Path) - 1

// ErrRunning means that another process listens on the socket.
var ErrRunning = errors.New("another process is running there")

// Listen opens the address of an HTTP interface: an absolute path, for a Unix socket, or host:port.
//
// A socket has mode 0660 from the start, a missing folder is created (0755), and a socket that a killed process left is
// replaced. If that process is alive, the error wraps ErrRunning. Closing the listener removes the socket.
func Listen(addr string) (net.Listener, error) {
	if filepath.IsAbs(addr) {
		return listenUnix(addr)
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %q: %w; write an absolute path, or host:port", addr, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), lookupLimit)
	defer cancel()
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w%s", addr, unwrapNet(err), listenRemedy(err))
	}
	return &namedListener{Listener: l, host: host}, nil
}

// namedListener keeps the host name of the configured address: Addr has only an IP address.
type namedListener struct {
	net.Listener
	host string
}

func listenUnix(path string) (net.Listener, error) {
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("listen on %s: the path of a socket has at most %d bytes, not %d; choose a shorter one",
			path, maxSocketPath, len(path))
	}
	place, err := atomicfile.Find(path, nil)
	if err != nil {
		return nil, err
	}
	defer func() { _ = place.Dir.Close() }() // nothing was written through it
	if err := place.MakeDirs(); err != nil {
		return nil, err
	}
	// Without the lock, two processes that start together could remove each other's socket.
	lock := &atomicfile.Target{Dir: place.Dir, Base: place.Base}
	ctx, cancel := context.WithTimeout(context.Background(), lookupLimit)
	defer cancel()
	if err := lock.Lock(ctx, atomicfile.Waiting{}); err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	l, err := replaceSocket(ctx, path, place)
	if err := errors.Join(err, lock.Close()); err != nil {
		if l != nil {
			err = errors.Join(err, l.Close())
		}
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	return l, nil
}

func replaceSocket(ctx context.Context, path string, place *atomicfile.Target) (net.Listener, error) {
	if err := removeStale(ctx, path, place); err != nil {
		return nil, err
	}
	if real := place.Path(); len(real) <= maxSocketPath {
		path = real
	}
	l, err := bindSocket(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("%w%s", unwrapNet(err), listenRemedy(err))
	}
	if !place.Dir.Has(place.Base) {
		return nil, errors.Join(errors.New("its folder was replaced meanwhile; start again"), l.Close())
	}
	return l, nil
}

// bindSocket creates a socket that never has a wider mode: Linux gives the file the mode of the descriptor, less the umask.
// Files that this process creates meanwhile have a narrower mode than this umask.
func bindSocket(ctx context.Context, path string) (net.Listener, error) {
	narrow := net.ListenConfig{Control: func(_, _ string, conn syscall.RawConn) error {
		return conn.Control(func(fd uintptr) { _ = syscall.Fchmod(int(fd), socketMode) })
	}}
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	syscall.Umask(old&^socketMode | 0o007)
	return narrow.Listen(ctx, "unix", path)
}

// removeStale removes a socket without a listener, and nothing else.
func removeStale(ctx context.Context, path string, place *atomicfile.Target) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return errors.New("the file there is not a socket; remove it, or choose another path")
	}
	conn, err := (&net.Dialer{Timeout: dialLimit}).DialContext(ctx, "unix", path)
	switch {
	case err == nil:
		return errors.Join(ErrRunning, conn.Close())
	case errors.Is(err, syscall.EAGAIN), errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("%w, and accepts no connections", ErrRunning)
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case !errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("check the socket that is there: %w", unwrapNet(err))
	}
	return place.Dir.Remove(place.Base)
}

// unwrapNet drops the prefix of package net: our messages name the address.
func unwrapNet(err error) error {
	if op := (*net.OpError)(nil); errors.As(err, &op) {
		return op.Err
	}
	return err
}

func listenRemedy(err error) string {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return "; another program listens there, see `ss -ltnp`"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return "; this machine does not have the address"
	case errors.Is(err, fs.ErrPermission):
		return fmt.Sprintf("; uid %d may not do this", os.Geteuid())
	}
	return ""
}
