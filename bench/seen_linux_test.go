package bench

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// observer sees from outside, by inotify, when files get the expected
// content. Its time of a change is the event's; that the bytes are right is
// looked up after, so that the check does not delay the next event.
type observer struct {
	file    *os.File       // of inotify
	targets []string       // by number of node
	nodes   map[int32]int  // by watch
	events  chan event     // from read to verify
	wg      sync.WaitGroup // of both
	failed  chan error     // holds the first error

	mu     sync.Mutex
	want   []byte
	landed []time.Time // by number of node; zero: not yet
	left   int
	all    chan struct{} // closed when left gets 0
}

type event struct {
	node int
	at   time.Time
}

// observe begins to watch the folders of the targets, one each.
func observe(targets []string) (*observer, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("inotify: %w", err)
	}
	o := &observer{
		file: os.NewFile(uintptr(fd), "inotify"), targets: targets, nodes: make(map[int32]int, len(targets)),
		// As many as the kernel queues: verify can be late.
		events: make(chan event, 16384), failed: make(chan error, 2),
	}
	for i, target := range targets {
		wd, err := unix.InotifyAddWatch(fd, filepath.Dir(target), unix.IN_MOVED_TO|unix.IN_CLOSE_WRITE)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("watch %s: %w", filepath.Dir(target), err), o.file.Close())
		}
		o.nodes[int32(wd)] = i
	}
	o.wg.Go(o.read)
	o.wg.Go(o.verify)
	return o, nil
}

func (o *observer) close() {
	o.file.Close()
	o.wg.Wait()
}

func (o *observer) fail(err error) {
	select {
	case o.failed <- err:
	default:
	}
}

// read passes on the events of the targets until close.
func (o *observer) read() {
	defer close(o.events)
	buf := make([]byte, 256<<10)
	for {
		n, err := o.file.Read(buf)
		at := time.Now()
		if err != nil {
			if !errors.Is(err, os.ErrClosed) {
				o.fail(fmt.Errorf("read inotify: %w", err))
			}
			return
		}
		for b := buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
			wd, mask := int32(binary.NativeEndian.Uint32(b)), binary.NativeEndian.Uint32(b[4:])
			end := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(b[12:]))
			name := strings.TrimRight(string(b[unix.SizeofInotifyEvent:end]), "\x00")
			b = b[end:]
			if mask&unix.IN_Q_OVERFLOW != 0 {
				o.fail(errors.New("inotify lost events: raise fs.inotify.max_queued_events"))
				return
			}
			if i, ok := o.nodes[wd]; ok && name == filepath.Base(o.targets[i]) {
				o.events <- event{i, at}
			}
		}
	}
}

// verify counts the nodes whose file has the bytes that are expected.
func (o *observer) verify() {
	for e := range o.events {
		got, err := os.ReadFile(o.targets[e.node])
		if err != nil {
			o.fail(err)
			continue
		}
		o.mu.Lock()
		if o.left > 0 && o.landed[e.node].IsZero() && bytes.Equal(got, o.want) {
			o.landed[e.node] = e.at
			if o.left--; o.left == 0 {
				close(o.all)
			}
		}
		o.mu.Unlock()
	}
}

// expect sets the next content. Call wait before the next expect.
func (o *observer) expect(content []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.want, o.landed, o.left, o.all = content, make([]time.Time, len(o.targets)), len(o.targets), make(chan struct{})
}

// count is how many nodes have had the expected content.
func (o *observer) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.targets) - o.left
}

// wait returns when each node has the expected content, or ended gives an error.
func (o *observer) wait(limit time.Duration, ended func() error) ([]time.Time, error) {
	o.mu.Lock()
	all := o.all
	o.mu.Unlock()
	for timeout := time.After(limit); ; {
		select {
		case <-all:
			return o.landed, nil
		case err := <-o.failed:
			return nil, err
		case <-timeout:
			o.mu.Lock()
			defer o.mu.Unlock()
			return nil, fmt.Errorf("%d of %d nodes did not get the content within %v", o.left, len(o.targets), limit)
		case <-time.After(time.Second):
			if err := ended(); err != nil {
				return nil, err
			}
		}
	}
}

// TestObserver: only the right bytes count, and each node once.
func TestObserver(t *testing.T) {
	var targets []string
	for range 2 {
		targets = append(targets, filepath.Join(t.TempDir(), "hosts"))
	}
	put := func(target, content string) {
		t.Helper()
		if err := os.WriteFile(target+".tmp", []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(target+".tmp", target); err != nil {
			t.Fatal(err)
		}
	}
	o, err := observe(targets)
	if err != nil {
		t.Fatal(err)
	}
	defer o.close()
	o.expect([]byte("new"))
	before := time.Now()
	put(targets[0], "new")
	put(targets[0], "new")
	put(targets[1], "old")
	alive := func() error { return nil }
	if _, err := o.wait(300*time.Millisecond, alive); err == nil || !strings.HasPrefix(err.Error(), "1 of 2 ") {
		t.Fatalf("wrong bytes at one node: %v", err)
	}
	put(targets[1], "new")
	landed, err := o.wait(30*time.Second, alive)
	if err != nil {
		t.Fatal(err)
	}
	if landed[0].Before(before) || landed[1].Before(landed[0]) {
		t.Errorf("seen at %v, begun at %v", landed, before)
	}
}
