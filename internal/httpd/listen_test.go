package httpd

import (
	"errors"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// leaveSocket leaves a socket without a listener, as a kill does.
func leaveSocket(t *testing.T, path string) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func withUmask(t *testing.T, mask int) {
	t.Helper()
	old := syscall.Umask(mask)
	t.Cleanup(func() { syscall.Umask(old) })
}

func modeOf(t *testing.T, path string) fs.FileMode {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode()
}

func TestASocketIsForItsGroup(t *testing.T) {
	for _, mask := range []int{0, 0o022, 0o077, 0o777} {
		withUmask(t, mask)
		dir := filepath.Join(t.TempDir(), "run", "kvexpress")
		if mask == 0o777 { // not even our own folders could be made
			dir = t.TempDir()
		}
		path := filepath.Join(dir, "agent.sock")
		l := listen(t, path)
		if got := modeOf(t, path); got != fs.ModeSocket|0o660 {
			t.Errorf("umask %03o: the socket has mode %v", mask, got)
		}
		if got := modeOf(t, dir).Perm(); got != 0o755 && mask != 0o777 {
			t.Errorf("umask %03o: the folder has mode %v", mask, got)
		}
		if l.Addr().String() != path {
			t.Errorf("it says that it listens on %s", l.Addr())
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
			t.Errorf("it left %v, %v", entries, err)
		}
	}
}

// There is no moment in which others may open the socket: its mode is narrow
// before it is set.
func TestASocketIsNeverOpenToOthers(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux makes a socket with a mode")
	}
	withUmask(t, 0)
	path := filepath.Join(t.TempDir(), "agent.sock")
	l, err := bindSocket(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if got := modeOf(t, path); got != fs.ModeSocket|0o660 {
		t.Errorf("it is born with mode %v", got)
	}
}

func TestAStaleSocketIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "agent.sock")
	leaveSocket(t, path)
	l := listen(t, path)
	serving(t, l, ok())
	if code := request(t, l, "GET /status HTTP/1.1\r\nHost: x\r\n\r\n"); code != http.StatusOK {
		t.Errorf("%d, want 200", code)
	}
}

func TestALiveSocketIsNotTaken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "agent.sock")
	l := listen(t, path)
	serving(t, l, ok())
	second, err := Listen(path)
	if !errors.Is(err, ErrRunning) || !strings.Contains(err.Error(), path) {
		t.Errorf("the second agent gets %v, %v", second, err)
	}
	if code := request(t, l, "GET /status HTTP/1.1\r\nHost: x\r\n\r\n"); code != http.StatusOK {
		t.Errorf("the first agent answers %d afterwards", code)
	}
}

// An agent that does not accept connections at the moment is alive too.
func TestABusySocketIsNotTaken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "agent.sock")
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	if err := syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil { // one call may wait
		t.Fatal(err)
	}
	conn, err := new(net.Dialer).DialContext(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if l, err := Listen(path); !errors.Is(err, ErrRunning) {
		t.Errorf("the second agent gets %v, %v", l, err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("the socket is gone: %v", err)
	}
}

// Only one of several agents that start at the same moment gets the socket, and
// keeps it.
func TestOneOfManyGetsTheSocket(t *testing.T) {
	for range 20 {
		path := filepath.Join(t.TempDir(), "agent.sock")
		leaveSocket(t, path)
		var mu sync.Mutex
		var got []net.Listener
		var all sync.WaitGroup
		start := make(chan struct{})
		for range 8 {
			all.Go(func() {
				<-start
				if l, err := Listen(path); err == nil {
					mu.Lock()
					got = append(got, l)
					mu.Unlock()
				}
			})
		}
		close(start)
		all.Wait()
		if len(got) != 1 {
			t.Fatalf("%d agents have the socket", len(got))
		}
		conn, err := new(net.Dialer).DialContext(t.Context(), "unix", path)
		if err != nil {
			t.Fatalf("no answer on it: %v", err)
		}
		_ = conn.Close()
		_ = got[0].Close()
	}
}

// A user who can open the folder of the socket can lock it with flock. That keeps no agent from starting.
func TestALockedFolderHoldsNothingUp(t *testing.T) {
	dir := t.TempDir()
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	l, err := Listen(filepath.Join(dir, "agent.sock"))
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("left: %v, %v", entries, err)
	}
}

// Nothing is removed that is not a socket of a dead agent.
func TestOtherThingsStay(t *testing.T) {
	for name, put := range map[string]func(path string) error{
		"file":   func(path string) error { return os.WriteFile(path, []byte("precious"), 0o600) },
		"folder": func(path string) error { return os.Mkdir(path, 0o755) },
		"fifo":   func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"link": func(path string) error {
			leaveSocket(t, path+".other")
			return os.Symlink(path+".other", path)
		},
		"dangling link": func(path string) error { return os.Symlink("/nowhere", path) },
		"socket of another kind": func(path string) error {
			conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
			if err == nil {
				t.Cleanup(func() { conn.Close() })
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "agent.sock")
			if err := put(path); err != nil {
				t.Fatal(err)
			}
			before, err := os.Lstat(path)
			if err != nil {
				t.Fatal(err)
			}
			l, err := Listen(path)
			if err == nil {
				_ = l.Close()
				t.Fatal("it listens there")
			}
			if !strings.Contains(err.Error(), path) {
				t.Errorf("the error does not name it: %v", err)
			}
			after, err := os.Lstat(path)
			if err != nil || !os.SameFile(before, after) {
				t.Errorf("it is another now: %v", err)
			}
		})
	}
}

func TestAddressesThatCannotBe(t *testing.T) {
	used := listen(t, "127.0.0.1:0")
	defer used.Close()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for addr, want := range map[string]string{
		"":                                       "host:port",
		"agent.sock":                             "host:port",
		"localhost":                              "host:port",
		"localhost:http:1":                       "host:port",
		"localhost:99999":                        "99999",
		"192.0.2.1:0":                            "this machine",
		used.Addr().String():                     "ss -ltnp",
		"/" + strings.Repeat("x", maxSocketPath): "at most",
		file + "/agent.sock":                     "not a directory",
	} {
		l, err := Listen(addr)
		if err == nil {
			_ = l.Close()
			t.Errorf("%s: it listens there", addr)
		} else if !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q in it", addr, err, want)
		}
	}
	// The longest path that is allowed works.
	dir := t.TempDir()
	path := filepath.Join(dir, strings.Repeat("x", max(1, maxSocketPath-len(dir)-1)))
	if len(path) != maxSocketPath {
		t.Skip("the temporary folder has too long a name")
	}
	l := listen(t, path)
	defer l.Close()
}
