package consulhttp_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/consulhttp"
	"kvexpress/internal/longpoll"
	"kvexpress/internal/store/local"
)

// Clients that want to do harm. Whatever they do, a good client is answered, and what a bad one holds is bounded.

const tooMany = "there are too many of you\n"

// hurry is a server with one limit of time that a test need not wait for long; the others are out of its way.
func hurry(maxConns int, set func(*longpoll.Times)) consulhttp.Options {
	times := longpoll.Times{Header: time.Hour, Body: time.Hour, Answer: time.Hour, Idle: time.Hour, Send: time.Hour}
	set(&times)
	return consulhttp.Options{Server: longpoll.New(maxConns, tooMany, longpoll.WithTimes(times))}
}

// bad is a client that says what it likes.
type bad struct {
	net.Conn
	t *testing.T
}

func connect(t *testing.T, addr string) *bad {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	return &bad{conn, t}
}

// says sends a text; that the other end does not want it is no mistake.
func (b *bad) says(format string, args ...any) error {
	_, err := fmt.Fprintf(b, format, args...)
	return err
}

// hears is the answer. Its end may be lost when the server closes on a client that still sends.
func (b *bad) hears() (int, string) {
	b.t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(b), nil)
	if err != nil {
		b.t.Fatalf("no answer: %v", err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body)
}

// isCutOff reads until the server has closed the connection.
func (b *bad) isCutOff() {
	b.t.Helper()
	_, err := io.Copy(io.Discard, b)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		b.t.Error("it is not cut off")
	}
}

// asks is what a good client gets: of a connection of its own.
func asks(t *testing.T, method, url, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Close = true
	resp, err := (&http.Client{Timeout: time.Minute}).Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(b)
}

// Its headers come a byte at a time, and never end.
func TestSlowHeaders(t *testing.T) {
	web, _ := serve(t, hurry(0, func(times *longpoll.Times) { times.Header = 300 * time.Millisecond }))
	slow := connect(t, web.Listener.Addr().String())
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		if slow.says("GET /v1/kv/a HTTP/1.1\r\nHost: x\r\nX-Slow: ") != nil {
			return
		}
		for slow.says("x") == nil { // so slowly that it is not the size that ends it
			<-time.After(10 * time.Millisecond)
		}
	}()
	if code, body := asks(t, "PUT", web.URL+"/v1/kv/a", "1"); code != http.StatusOK {
		t.Errorf("a good client gets %d %s", code, body)
	}
	slow.isCutOff()
	<-gone
}

// Its body never comes to an end. Nothing of it is written.
func TestEndlessBody(t *testing.T) {
	for name, head := range map[string]string{
		"told":   "PUT /v1/kv/bad HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf",
		"chunks": "PUT /v1/kv/bad HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
		"txn":    "PUT /v1/txn HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n[{\"KV\":",
	} {
		t.Run(name, func(t *testing.T) {
			web, engine := serve(t, hurry(0, func(times *longpoll.Times) { times.Body = 300 * time.Millisecond }))
			slow := connect(t, web.Listener.Addr().String())
			if err := slow.says("%s", head); err != nil {
				t.Fatal(err)
			}
			if code, body := asks(t, "PUT", web.URL+"/v1/kv/good", "1"); code != http.StatusOK {
				t.Errorf("a good client gets %d %s", code, body)
			}
			slow.isCutOff()
			if engine.View().Get("bad") != nil {
				t.Error("half of a body was written")
			}
		})
	}
}

func TestTooManyConnections(t *testing.T) {
	web, engine := serve(t, hurry(2, func(*longpoll.Times) {}))
	addr := web.Listener.Addr().String()
	first, second := connect(t, addr), connect(t, addr)
	for _, b := range []*bad{first, second} { // one of them waits, the other is idle
		if err := b.says("GET /v1/kv/a?raw HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if code, body := b.hears(); code != http.StatusNotFound {
			t.Fatalf("%d %s", code, body)
		}
	}
	if err := second.says("GET /v1/kv/a?raw&index=%d HTTP/1.1\r\nHost: x\r\n\r\n", max(engine.View().Index(), 1)); err != nil {
		t.Fatal(err)
	}
	for range 50 { // it says so to each, whether it asks or only comes
		if code, body := asks(t, "GET", web.URL+"/v1/status/leader", ""); code != http.StatusTooManyRequests || body != tooMany {
			t.Fatalf("one too many gets %d %q", code, body)
		}
	}
	if code, body := connect(t, addr).hears(); code != http.StatusTooManyRequests || body != tooMany {
		t.Errorf("one too many gets %d %q", code, body)
	}
	_ = first.Close()
	for end := time.Now().Add(30 * time.Second); ; {
		code, body := asks(t, "PUT", web.URL+"/v1/kv/a", "new")
		if code == http.StatusOK {
			break
		}
		if code != http.StatusTooManyRequests || time.Now().After(end) {
			t.Fatalf("after one has gone: %d %s", code, body)
		}
	}
	if code, body := second.hears(); code != http.StatusOK || body != "new" {
		t.Errorf("who waited gets %d %q", code, body)
	}
}

func TestTooLarge(t *testing.T) {
	web, _ := serve(t, hurry(0, func(*longpoll.Times) {}))
	addr := web.Listener.Addr().String()
	const chunked = "Transfer-Encoding: chunked\r\n\r\n"
	chunks := strings.Repeat("10000\r\n"+strings.Repeat("x", 0x10000)+"\r\n", 9) // 576 KiB, and no end
	for name, c := range map[string]struct {
		request string
		code    int
	}{
		"headers":                 {"GET /v1/kv/a HTTP/1.1\r\nHost: x\r\nX-Long: " + strings.Repeat("x", 64<<10), 431},
		"many headers":            {"GET /v1/kv/a HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("X-A: b\r\n", 8<<10), 431},
		"a long path":             {"GET /v1/kv/" + strings.Repeat("x", 64<<10), 431},
		"a value":                 {"PUT /v1/kv/a HTTP/1.1\r\nHost: x\r\nContent-Length: 524289\r\n\r\nx", 413},
		"a value in chunks":       {"PUT /v1/kv/a HTTP/1.1\r\nHost: x\r\n" + chunked + chunks, 413},
		"a transaction":           {"PUT /v1/txn HTTP/1.1\r\nHost: x\r\nContent-Length: 524289\r\n\r\n[", 413},
		"a transaction in chunks": {"PUT /v1/txn HTTP/1.1\r\nHost: x\r\n" + chunked + "2\r\n[\"\r\n" + chunks, 413},
	} {
		t.Run(name, func(t *testing.T) {
			b := connect(t, addr)
			go func() { _ = b.says("%s", c.request) }() // the end of it is not wanted
			if code, body := b.hears(); code != c.code {
				t.Errorf("%d %s, want %d", code, body, c.code)
			}
		})
	}
}

// A client that asks for much and takes nothing costs its connection and not its answer, and is cut off.
func TestClientThatDoesNotRead(t *testing.T) {
	const values, clients = 32, 20
	o := hurry(clients, func(times *longpoll.Times) { times.Answer = 5 * time.Second })
	web, engine := serve(t, o)
	value := []byte(strings.Repeat("x", 500_000))
	for n := range values {
		if _, err := engine.Apply(t.Context(), local.Op{Verb: local.Set, Path: fmt.Sprint("k/", n), Value: value}); err != nil {
			t.Fatal(err)
		}
	}
	before := heap()
	for range clients { // each has asked for 21 MB
		b := connect(t, web.Listener.Addr().String())
		if err := b.says("GET /v1/kv/k/?recurse HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Read(make([]byte, 1)); err != nil { // the answer is under way
			t.Fatal(err)
		}
	}
	const most = clients * 2 << 20 // a value in JSON and its buffers each
	if after := heap(); after > before+most {
		t.Errorf("%d of them hold %d MB", clients, (after-before)>>20)
	}
	for end := time.Now().Add(time.Minute); ; <-time.After(10 * time.Millisecond) {
		if code, body := asks(t, "GET", web.URL+"/v1/status/leader", ""); code == http.StatusOK {
			break
		} else if time.Now().After(end) {
			t.Fatalf("they hold their connections: %d %s", code, body)
		}
	}
}

// The same for one that has waited first.
func TestClientThatWaitsAndDoesNotRead(t *testing.T) {
	web, engine := serve(t, hurry(1, func(times *longpoll.Times) { times.Send = 300 * time.Millisecond }))
	b := connect(t, web.Listener.Addr().String())
	for n := range 40 {
		if _, err := engine.Apply(t.Context(), local.Op{Verb: local.Set, Path: fmt.Sprint("k/", n), Value: make([]byte, 500_000)}); err != nil {
			t.Fatal(err)
		}
	}
	// There is no such index: it waits until the time is over.
	if err := b.says("GET /v1/kv/k/?recurse&index=1000000&wait=100ms HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Read(make([]byte, 1)); err != nil { // the answer is under way
		t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); ; <-time.After(10 * time.Millisecond) {
		if code, body := asks(t, "GET", web.URL+"/v1/status/leader", ""); code == http.StatusOK {
			return
		} else if time.Now().After(end) {
			t.Fatalf("it holds its connection: %d %s", code, body)
		}
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// Each operation of a transaction may read the whole store, and all of them together may not read it 128 times.
func TestTransactionThatReadsAllOverAndOver(t *testing.T) {
	web, engine := serve(t, consulhttp.Options{})
	for n := range 12 {
		if _, err := engine.Apply(t.Context(), local.Op{Verb: local.Set, Path: fmt.Sprint("k/", n), Value: make([]byte, 100_000)}); err != nil {
			t.Fatal(err)
		}
	}
	body := func(trees int, more string) string {
		return "[" + strings.TrimSuffix(strings.Repeat(`{"KV":{"Verb":"get-tree","Key":"k"}},`, trees)+more, ",") + "]"
	}
	index := engine.View().Index()
	for _, c := range []struct {
		trees int
		more  string
		code  int
	}{
		{1, "", 200}, {5, "", 200}, {128, "", 413}, {127, `{"KV":{"Verb":"set","Key":"new"}}`, 413}, {5, `{"KV":{"Verb":"set","Key":"new"}}`, 200},
	} {
		code, answer := asks(t, "PUT", web.URL+"/v1/txn", body(c.trees, c.more))
		if code != c.code || code == 413 && (!strings.Contains(answer, "134217728 bytes") || engine.View().Index() != index) {
			t.Errorf("%d times all %s: %d %.200s", c.trees, c.more, code, answer)
		}
	}
	if engine.View().Get("new") == nil {
		t.Error("a transaction within the limits was not made")
	}
}
