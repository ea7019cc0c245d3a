//go:build linux

package lab

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"kvexpress/internal/lab/order"
)

// Sight is a file that got new content, as inotify tells it. The content is that of
// right after, which may be a later one.
type Sight struct {
	At     time.Time
	SHA256 string
	Hosts  map[string]netip.Addr // nil: it is no hosts file
}

// Sights are what became of the files of a lab: those that are rendered, and those of
// the nodes.
type Sights struct {
	file  *os.File
	paths map[int32]string         // by watch
	news  map[string]chan struct{} // by path: one waits there when the file has changed

	mu   sync.Mutex
	seen map[string][]Sight
	err  error
}

// LookOn begins to note what becomes of the files, until ctx ends; then it must be
// waited for.
func (l *Lab) LookOn(ctx context.Context, wg *sync.WaitGroup) (*Sights, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("inotify: %w", err)
	}
	s := &Sights{file: os.NewFile(uintptr(fd), "inotify"), paths: map[int32]string{}, news: map[string]chan struct{}{}, seen: map[string][]Sight{}}
	var paths []string
	for _, server := range l.Servers {
		paths = append(paths, server.Rendered)
	}
	for _, n := range l.Nodes {
		paths = append(paths, n.Hosts)
	}
	for _, path := range paths {
		wd, err := unix.InotifyAddWatch(fd, filepath.Dir(path), unix.IN_MOVED_TO|unix.IN_CLOSE_WRITE)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("watch %s: %w", filepath.Dir(path), err), s.file.Close())
		}
		s.paths[int32(wd)], s.news[path] = path, make(chan struct{}, 1)
	}
	wg.Go(func() {
		<-ctx.Done()
		_ = s.file.Close() // ends read
	})
	wg.Go(s.read)
	return s, nil
}

func (s *Sights) read() {
	buf := make([]byte, 64<<10)
	for {
		n, err := s.file.Read(buf)
		at := time.Now()
		if err != nil {
			if !errors.Is(err, os.ErrClosed) {
				s.fail(fmt.Errorf("read inotify: %w", err))
			}
			return
		}
		for b := buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
			wd := int32(binary.NativeEndian.Uint32(b))
			end := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(b[12:]))
			name := strings.TrimRight(string(b[unix.SizeofInotifyEvent:end]), "\x00")
			b = b[end:]
			if wd < 0 {
				s.fail(errors.New("inotify: there were more events than the kernel keeps, and some are lost"))
			}
			if path := s.paths[wd]; path != "" && name == filepath.Base(path) {
				select {
				case s.news[path] <- struct{}{}:
				default: // whoever is told has not looked yet
				}
				s.note(path, at)
			}
		}
	}
}

func (s *Sights) note(path string, at time.Time) {
	content, err := os.ReadFile(path)
	if err != nil {
		return // it is gone already
	}
	sum := sha256.Sum256(content)
	sight := Sight{At: at, SHA256: hex.EncodeToString(sum[:])}
	if hosts, err := order.Parse(content); err == nil {
		sight.Hosts = hosts
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen[path] = append(s.seen[path], sight)
}

// Of are the sights of a file so far.
func (s *Sights) Of(path string) []Sight {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Sight(nil), s.seen[path]...)
}

// First is the first sight of a file after a moment of which ok is true.
func (s *Sights) First(path string, after time.Time, ok func(Sight) bool) (Sight, bool) {
	for _, sight := range s.Of(path) {
		if sight.At.After(after) && ok(sight) {
			return sight, true
		}
	}
	return Sight{}, false
}

func (s *Sights) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

// Err is why no more is seen, or not all was.
func (s *Sights) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}
