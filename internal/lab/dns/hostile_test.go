package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// serve is a server that sends to each question what answers returns, in order,
// and is gone after the test.
func serve(t *testing.T, answers func(dnsmessage.Message) [][]byte) netip.AddrPort {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 4096)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			var q dnsmessage.Message
			if err := q.Unpack(buf[:n]); err != nil {
				t.Errorf("the client sent %x: %v", buf[:n], err)
				continue
			}
			for _, b := range answers(q) {
				if _, err := conn.WriteTo(b, from); err != nil {
					t.Error(err)
				}
			}
		}
	}()
	t.Cleanup(func() {
		conn.Close()
		<-done
	})
	return netip.MustParseAddrPort(conn.LocalAddr().String())
}

// to is the reply to a question with one address, changed by change.
func to(q dnsmessage.Message, addr byte, change func(*dnsmessage.Message)) []byte {
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: q.ID, Response: true}, Questions: q.Questions}
	m.Answers = []dnsmessage.Resource{{
		Header: dnsmessage.ResourceHeader{Name: q.Questions[0].Name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET},
		Body:   &dnsmessage.AResource{A: [4]byte{10, 0, 0, addr}},
	}}
	if change != nil {
		change(&m)
	}
	b, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return b
}

// lies are messages with the address 10.0.0.66 that are no reply to q.
func lies(q dnsmessage.Message) map[string][]byte {
	alter := func(f func(*dnsmessage.Message)) []byte { return to(q, 66, f) }
	whole := alter(nil)
	other := q.Questions[0]
	other.Name = dnsmessage.MustNewName("other.lab.test.")
	six := q.Questions[0]
	six.Type = dnsmessage.TypeAAAA
	return map[string][]byte{
		"another id":       alter(func(m *dnsmessage.Message) { m.ID++ }),
		"no reply":         alter(func(m *dnsmessage.Message) { m.Response = false }),
		"another opcode":   alter(func(m *dnsmessage.Message) { m.OpCode = 2 }),
		"another question": alter(func(m *dnsmessage.Message) { m.Questions = []dnsmessage.Question{other} }),
		"another type":     alter(func(m *dnsmessage.Message) { m.Questions = []dnsmessage.Question{six} }),
		"no question":      alter(func(m *dnsmessage.Message) { m.Questions = nil }),
		"two questions":    alter(func(m *dnsmessage.Message) { m.Questions = append(m.Questions[:1:1], other) }),
		"truncated":        alter(func(m *dnsmessage.Message) { m.Truncated = true }),
		"cut off":          whole[:len(whole)-1],
		"only a header":    whole[:12],
		"garbage":          []byte("garbage that is longer than a header"),
		"nothing":          {},
		"a wrong length":   append(whole[:len(whole)-5:len(whole)-5], 3, 10, 0, 0), // of the address, in bytes
	}
}

func TestLiesAreIgnored(t *testing.T) {
	server := serve(t, func(q dnsmessage.Message) [][]byte {
		var all [][]byte
		for _, b := range lies(q) {
			all = append(all, b)
		}
		return append(all, to(q, 1, nil), to(q, 66, nil)) // the second is late for this question, and another one's for the next
	})
	c := dial(t, server)
	for i := range 50 { // never the same name twice, since two ids are the same one day
		want(t, c, fmt.Sprintf("web-%d.lab.test", i), is("10.0.0.1"))
	}
}

// Each of them alone is no answer either: nothing but the time-out ends the wait.
func TestEachLieAlone(t *testing.T) {
	q, err := ask("web.lab.test")
	if err != nil {
		t.Fatal(err)
	}
	question := dnsmessage.Message{Header: dnsmessage.Header{ID: q.id}, Questions: []dnsmessage.Question{q.question}}
	for name, b := range lies(question) {
		if r, ok := parse(b, q); ok {
			t.Errorf("%s: taken for the reply %+v", name, r)
		}
	}
	if r, ok := parse(to(question, 1, nil), q); !ok || !is("10.0.0.1")(r.Answer, nil) {
		t.Errorf("a good reply is read as %+v, %v", r, ok)
	}
	silent := dial(t, serve(t, func(q dnsmessage.Message) [][]byte { return [][]byte{lies(q)["another id"]} }))
	if _, err := silent.Ask(t.Context(), "web.lab.test"); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("nothing but a wrong id came, and the error is %v", err)
	}
}

func TestOtherRecordsAreLeftOut(t *testing.T) {
	server := serve(t, func(q dnsmessage.Message) [][]byte {
		return [][]byte{to(q, 1, func(m *dnsmessage.Message) {
			good := m.Answers[0]
			alias, other := good, good
			alias.Header.Type, alias.Body = dnsmessage.TypeCNAME, &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName("b.lab.test.")}
			other.Header.Name, other.Body = dnsmessage.MustNewName("b.lab.test."), &dnsmessage.AResource{A: [4]byte{10, 0, 0, 66}}
			m.Answers = []dnsmessage.Resource{alias, other, good, good}
		})}
	})
	want(t, dial(t, server), "web.lab.test", is("10.0.0.1"))
}

func TestCodes(t *testing.T) {
	for code, word := range map[dnsmessage.RCode]string{
		dnsmessage.RCodeFormatError: "FORMERR", dnsmessage.RCodeServerFailure: "SERVFAIL", dnsmessage.RCodeNotImplemented: "NOTIMP",
		dnsmessage.RCodeRefused: "REFUSED", 9: "code 9",
	} {
		server := serve(t, func(q dnsmessage.Message) [][]byte {
			return [][]byte{to(q, 66, func(m *dnsmessage.Message) { m.RCode = code })}
		})
		a, err := dial(t, server).Ask(t.Context(), "web.lab.test")
		if err == nil || a.Exists || len(a.Addrs) > 0 {
			t.Errorf("%s: got %+v, %v", word, a, err)
			continue
		}
		for _, part := range []string{word, "web.lab.test", server.String()} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%q does not say %q", err, part)
			}
		}
	}
	// Records do not make a name that the server says is none.
	server := serve(t, func(q dnsmessage.Message) [][]byte {
		return [][]byte{to(q, 66, func(m *dnsmessage.Message) { m.RCode = dnsmessage.RCodeNameError })}
	})
	want(t, dial(t, server), "web.lab.test", is())
}

func TestCancelledQuestion(t *testing.T) {
	asked := make(chan struct{}, 1)
	quiet := true // until the first question was given up: only the server's goroutine reads it, after a question
	server := serve(t, func(q dnsmessage.Message) [][]byte {
		if quiet {
			quiet = false
			asked <- struct{}{}
			return nil
		}
		return [][]byte{to(q, 1, nil)}
	})
	c := dial(t, server)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-asked
		cancel()
	}()
	if _, err := c.Ask(ctx, "web.lab.test"); !errors.Is(err, context.Canceled) {
		t.Errorf("given up, and the error is %v", err)
	}
	if _, err := c.Ask(ctx, "web.lab.test"); !errors.Is(err, context.Canceled) {
		t.Errorf("asked in vain, and the error is %v", err)
	}
	want(t, c, "web.lab.test", is("10.0.0.1"))
}

func TestBadArguments(t *testing.T) {
	for _, server := range []netip.AddrPort{{}, netip.MustParseAddrPort("127.0.0.1:0")} {
		if _, err := Dial(t.Context(), server); err == nil || !strings.Contains(err.Error(), "127.0.0.1:53") {
			t.Errorf("%s: %v", server, err)
		}
	}
	c := dial(t, netip.MustParseAddrPort("127.0.0.1:9"))
	for _, name := range []string{"", ".", "a..b", strings.Repeat("a", 64) + ".test", strings.Repeat("a.", 200)} {
		if _, err := c.Ask(t.Context(), name); err == nil || !strings.Contains(err.Error(), "dns question for") {
			t.Errorf("%.20q: %v", name, err)
		}
	}
}
