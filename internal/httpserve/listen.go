package httpserve

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

// socketMode lets the group ask too.
const socketMode = 0o660

// Time limits: for looking up the name of an address, and for whoever may be
// listening on a socket to take a call.
const (
	lookupLimit = 5 * time.Second
	dialLimit   = time.Second
)

// maxSocketPath is the longest path of a socket, in bytes.
const maxSocketPath = len(syscall.RawSockaddrUnix{}.Path) - 1

// ErrRunning: somebody answers on the socket that was to be made.
var ErrRunning = errors.New("another agent is running there")

// Listen opens the address of an HTTP interface: an absolute path, for a
// Unix socket, or host:port.
//
// A socket has mode 0660 from its first moment, a missing folder is made (0755),
// and what another process left behind after a kill is replaced. The error wraps
// ErrRunning if that process is alive. Closing the listener removes the socket.
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

// namedListener remembers which name was asked for, as the address has none.
type namedListener struct {
	net.Listener
	host string
}

func listenUnix(path string) (net.Listener, error) {
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("listen on %s: the path of a socket has at most %d bytes, this one has %d: name a shorter one",
			path, maxSocketPath, len(path))
	}
	dir := filepath.Dir(path)
	if err := atomicfile.MakeDirs(dir, nil); err != nil {
		return nil, err
	}
	unlock, err := lockDir(dir)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	l, err := replaceSocket(path)
	return l, errors.Join(err, unlock())
}

// lockDir keeps two agents that start at the same moment from removing each
// other's socket.
func lockDir(dir string) (unlock func() error, err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("lock the folder %s: %w; another agent may be starting there", dir, err), f.Close())
	}
	return f.Close, nil
}

func replaceSocket(path string) (net.Listener, error) {
	if err := removeStale(path); err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	l, err := bindSocket(path)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w%s", path, unwrapNet(err), listenRemedy(err))
	}
	if err := os.Chmod(path, socketMode); err != nil { // the umask may have taken the group's bits
		return nil, errors.Join(fmt.Errorf("listen on %s: %w", path, err), l.Close())
	}
	return l, nil
}

// bindSocket makes a socket that others cannot open even before its mode is set:
// Linux gives the file the mode of the descriptor, less the umask. Elsewhere it
// has that of the umask for a moment.
func bindSocket(path string) (net.Listener, error) {
	narrow := net.ListenConfig{Control: func(_, _ string, conn syscall.RawConn) error {
		return conn.Control(func(fd uintptr) { _ = syscall.Fchmod(int(fd), socketMode) })
	}}
	return narrow.Listen(context.Background(), "unix", path)
}

// removeStale removes a socket on which nobody listens any more, and nothing
// else.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return errors.New("something else than a socket is there: remove it, or name another path")
	}
	conn, err := (&net.Dialer{Timeout: dialLimit}).DialContext(context.Background(), "unix", path)
	switch {
	case err == nil:
		return errors.Join(ErrRunning, conn.Close())
	case errors.Is(err, syscall.EAGAIN), errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("%w, and takes no more calls", ErrRunning)
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case !errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("find out whether the socket there is in use: %w", unwrapNet(err))
	}
	return os.Remove(path)
}

// unwrapNet drops what package net puts in front of a cause, which our messages
// name themselves.
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
		return "; the address is not one of this machine"
	case errors.Is(err, fs.ErrPermission):
		return fmt.Sprintf("; uid %d may not do this", os.Geteuid())
	}
	return ""
}
