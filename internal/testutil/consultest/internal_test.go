package consultest

import (
	"errors"
	"net"
	"strings"
	"testing"
)

func TestFindBinaryNeverFallsBackFromAWrongSetting(t *testing.T) {
	t.Setenv(binaryEnv, t.TempDir()+"/none")
	if path, err := findBinary(); err == nil || !strings.Contains(err.Error(), binaryEnv) {
		t.Errorf("got %q, %v; want an error that names %s", path, err, binaryEnv)
	}
}

func TestBlocksOfPortsAreNotShared(t *testing.T) {
	one, err := takePorts(t.Context(), "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	defer one.release()
	// Another test program that happens to begin its search with the same block.
	two, err := takePortsFrom(t.Context(), "127.0.0.1", (one.http-firstPort)/blockSize)
	if err != nil {
		t.Fatal(err)
	}
	defer two.release()
	if one.http == two.http {
		t.Errorf("both got port %d", one.http)
	}
}

func TestTakenPortIsNoticed(t *testing.T) {
	p, err := takePorts(t.Context(), "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	defer p.release()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", hostPort("127.0.0.1", p.server))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	if p.probe(t.Context(), "127.0.0.1") == nil {
		t.Error("a block with a taken port counts as free")
	}
}

// An agent that finds its port taken is tried again. A broken one is not.
func TestLaunchTellsATakenPort(t *testing.T) {
	s := newServer(t, nil)
	s.Kill()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", hostPort("127.0.0.1", s.ports.server))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	if err := s.launch(); !errors.Is(err, errPortTaken) {
		t.Errorf("got %v, want %v", err, errPortTaken)
	}
	if err := s.firstLaunch(); err != nil {
		t.Errorf("the next attempt failed, too: %v", err)
	}
}

func TestLastLines(t *testing.T) {
	if got := lastLines("a\nb\nc\n", 2); got != "b\nc" {
		t.Errorf("got %q", got)
	}
	if got := lastLines("a\n", 40); got != "a" {
		t.Errorf("got %q", got)
	}
	if got := lastLines("a\n2026 [ERROR] agent.http: Request error: method=PUT\nb\n", 2); got != "a\nb" {
		t.Errorf("got %q", got)
	}
}
