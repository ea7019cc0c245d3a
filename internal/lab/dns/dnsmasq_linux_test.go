package dns

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

// dnsmasq is a real one that serves a hosts file of ours.
type dnsmasq struct {
	t       *testing.T
	program string
	hosts   string
	server  netip.AddrPort
	cmd     *exec.Cmd
}

func newDnsmasq(t *testing.T, hosts string) *dnsmasq {
	t.Helper()
	program, err := exec.LookPath("dnsmasq")
	if err != nil {
		program = "/usr/sbin/dnsmasq" // not on the PATH of everybody
	}
	if _, err := os.Stat(program); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("dnsmasq is missing: install dnsmasq-base")
		}
		t.Skip("needs dnsmasq: install dnsmasq-base")
	}
	d := &dnsmasq{t: t, program: program, hosts: filepath.Join(t.TempDir(), "hosts"), server: freePort(t)}
	d.write(hosts)
	t.Cleanup(d.kill)
	return d
}

// freePort is free on UDP and TCP: dnsmasq listens on both.
func freePort(t *testing.T) netip.AddrPort {
	t.Helper()
	var last error
	for range 20 {
		u, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("tcp", u.LocalAddr().String())
		u.Close()
		if err == nil {
			defer l.Close()
			return netip.MustParseAddrPort(l.Addr().String())
		}
		last = err
	}
	t.Fatal(last)
	return netip.AddrPort{}
}

// write replaces the hosts file, which nobody else may read.
func (d *dnsmasq) write(hosts string) {
	d.t.Helper()
	if err := os.WriteFile(d.hosts+".new", []byte(hosts), 0o600); err != nil {
		d.t.Fatal(err)
	}
	if err := os.Rename(d.hosts+".new", d.hosts); err != nil {
		d.t.Fatal(err)
	}
}

func (d *dnsmasq) start() {
	d.t.Helper()
	_, port, _ := strings.Cut(d.server.String(), ":")
	// As root it would become "nobody", who may not read our files.
	d.cmd = exec.Command(d.program, "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--user=root", "--log-facility=-",
		"--no-hosts", "--no-resolv", "--addn-hosts="+d.hosts, "--local=/lab.test/",
		"--listen-address=127.0.0.1", "--bind-interfaces", "--port="+port)
	d.cmd.Stderr = d.t.Output()
	if err := d.cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
}

func (d *dnsmasq) signal(s os.Signal) {
	d.t.Helper()
	if err := d.cmd.Process.Signal(s); err != nil {
		d.t.Fatal(err)
	}
}

func (d *dnsmasq) kill() {
	if d.cmd != nil {
		_ = d.cmd.Process.Kill()
		_ = d.cmd.Wait()
		d.cmd = nil
	}
}

// until asks again and again, until the answer is as wanted.
func until(t *testing.T, c *Client, name string, good func(Answer, error) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for {
		a, err := c.Ask(ctx, name)
		if good(a, err) {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: the last answer is %+v, %v", name, a, err)
		case <-again.C:
		}
	}
}

func TestAnswersOfDnsmasq(t *testing.T) {
	d := newDnsmasq(t, "10.0.0.9 two.lab.test\n10.0.0.1 web.lab.test\n10.0.0.2 two.lab.test\nfd00::1 six.lab.test\n")
	c := dial(t, d.server)
	// It is not up yet: each question is refused, and the next makes a new socket.
	for range 2 {
		if _, err := c.Ask(t.Context(), "web.lab.test"); !errors.Is(err, syscall.ECONNREFUSED) || !strings.Contains(err.Error(), d.server.String()) {
			t.Fatalf("nobody listens, and the error is %v", err)
		}
		if c.conn != nil {
			t.Error("the socket that was refused is kept")
		}
	}
	d.start()
	until(t, c, "web.lab.test", is("10.0.0.1"))
	want(t, c, "web.lab.test.", is("10.0.0.1"))
	want(t, c, "WEB.lab.test", is("10.0.0.1"))
	want(t, c, "two.lab.test", is("10.0.0.2", "10.0.0.9"))
	want(t, c, "none.lab.test", is()) // NXDOMAIN
	want(t, c, "six.lab.test", is())  // no data
	if _, err := c.Ask(t.Context(), "elsewhere.test"); err == nil ||
		!strings.Contains(err.Error(), "REFUSED") || !strings.Contains(err.Error(), "elsewhere.test") || !strings.Contains(err.Error(), d.server.String()) {
		t.Errorf("of a name that it does not know about: %v", err)
	}
	want(t, c, "web.lab.test", is("10.0.0.1"))

	d.write("10.0.0.7 web.lab.test\n10.0.0.8 none.lab.test\n")
	want(t, c, "web.lab.test", is("10.0.0.1")) // it was not told
	d.signal(syscall.SIGHUP)
	until(t, c, "web.lab.test", is("10.0.0.7"))
	want(t, c, "none.lab.test", is("10.0.0.8"))
	want(t, c, "two.lab.test", is())
}

func TestStoppedAndKilledDnsmasq(t *testing.T) {
	d := newDnsmasq(t, "10.0.0.1 web.lab.test\n")
	d.start()
	c := dial(t, d.server)
	until(t, c, "web.lab.test", is("10.0.0.1"))

	d.signal(syscall.SIGSTOP)
	if _, err := c.Ask(t.Context(), "web.lab.test"); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("it is stopped, and the error is %v", err)
	}
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := c.Ask(short, "web.lab.test"); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the context ended first, and the error is %v", err)
	}
	d.signal(syscall.SIGCONT)
	until(t, c, "web.lab.test", is("10.0.0.1"))

	d.kill()
	if _, err := c.Ask(t.Context(), "web.lab.test"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("it is killed, and the error is %v", err)
	}
	d.write("10.0.0.2 web.lab.test\n")
	d.start()
	until(t, c, "web.lab.test", is("10.0.0.2"))
}
