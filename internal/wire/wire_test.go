package wire_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net/http"
	"net/http/httptest"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"kvexpress/internal/wire"
)

func TestEncodeData(t *testing.T) {
	data := bytes.Repeat([]byte{0, '{', 255}, 1000)
	s := wire.Snapshot{Key: "hosts", Read: 7, Rows: []wire.Row{{Name: "checksum", Value: []byte("ab"), Index: 3},
		{Name: wire.DataRow, Value: data, Flags: 1, Index: 3}}}
	b, err := wire.EncodeData(s)
	if err != nil {
		t.Fatal(err)
	}
	m, err := wire.DecodeFromHub(b)
	if err != nil || !reflect.DeepEqual(*m.Snapshot, s) {
		t.Errorf("got %+v: %v", m.Snapshot, err)
	}
	if len(s.Rows[1].Value) != len(data) {
		t.Error("encoding changed the caller's rows")
	}
	b, err = wire.Encode(wire.FromHub{Beat: &wire.Beat{Now: 5}})
	if err != nil {
		t.Fatal(err)
	}
	if m, err := wire.DecodeFromHub(b); err != nil || m.Beat == nil || m.Beat.Now != 5 {
		t.Errorf("got %+v: %v", m, err)
	}
}

// Nothing that the other side sends does harm.
func FuzzDecode(f *testing.F) {
	good, _ := wire.EncodeData(wire.Snapshot{Key: "k", Rows: []wire.Row{{Name: wire.DataRow, Value: []byte("x")}}})
	for _, b := range [][]byte{nil, {0}, {0, 0, 0, 9, 0, 0, 0, 0, '{'}, []byte("{}"), []byte(`{"later":1}`), good, []byte("\xff\xff\xff\xff\xff\xff\xff\xff{}")} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = wire.DecodeFromAgent(b)
		m, err := wire.DecodeFromHub(b)
		if err != nil || m.Snapshot == nil {
			return
		}
		again, err := wire.EncodeData(*m.Snapshot)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := wire.DecodeFromHub(again); err != nil {
			t.Fatal(err)
		}
	})
}

// serve runs a hub that echoes, and returns its host:port.
func serve(t *testing.T, h http.HandlerFunc, tls bool) *httptest.Server {
	s := httptest.NewUnstartedServer(h)
	if tls {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s
}

func echo(w http.ResponseWriter, r *http.Request) {
	c, err := wire.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer c.Close()
	for {
		b, err := c.Read(r.Context())
		if err != nil || c.Write(r.Context(), b) != nil {
			return
		}
	}
}

func TestDial(t *testing.T) {
	ctx := context.Background()
	s := serve(t, echo, false)
	c, err := wire.Dialer{}.Dial(ctx, strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, m := range []string{`{"beat":{}}`, head(2, 4) + "{}data", head(2, 0) + "{}"} {
		if err := c.Write(ctx, []byte(m)); err != nil {
			t.Fatal(err)
		}
		if b, err := c.Read(ctx); err != nil || string(b) != m {
			t.Errorf("got %q: %v", b, err)
		}
	}
}

// head is the beginning of a message with data.
func head(text, data uint32) string {
	return string(binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, text), data))
}

// A hub cannot make an agent allocate more than a message may have, nor read one that does not follow its head.
func TestReadLimits(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		c, err := wire.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer c.Close()
		b, _ := c.Read(r.Context())
		_ = c.Write(r.Context(), b)
		_, _ = c.Read(r.Context())
	}, false)
	for _, bad := range []string{
		"\x00", head(2, wire.MaxFromHub) + "{}", head(1<<32-1, 1<<32-1) + "{}", head(2, 5) + "{}data", head(2, 3) + "{}data",
	} {
		c, err := wire.Dialer{}.Dial(context.Background(), s.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if err := c.Write(context.Background(), []byte(bad)); err != nil {
			t.Fatal(err)
		}
		b, err := c.Read(context.Background())
		runtime.ReadMemStats(&after)
		if grew := after.TotalAlloc - before.TotalAlloc; err == nil || grew > 1<<20 {
			t.Errorf("%q: read %d bytes, allocated %d: %v", bad, len(b), grew, err)
		}
		_ = c.Close()
	}
}

// BenchmarkRead: one push of 22 KB, from the hub's write to the agent's message.
func BenchmarkRead(b *testing.B) {
	message, err := wire.EncodeData(wire.Snapshot{Key: "hosts", Rows: []wire.Row{{Name: wire.DataRow, Value: make([]byte, 22<<10)}}})
	if err != nil {
		b.Fatal(err)
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := wire.Accept(w, r, nil)
		for err == nil {
			err = c.Write(r.Context(), message)
		}
	}))
	defer s.Close()
	c, err := wire.Dialer{}.Dial(b.Context(), s.Listener.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Read(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// What is no hub gets no message, and the error says what to do.
func TestDialOthers(t *testing.T) {
	page := func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("hello")) }
	secure := serve(t, echo, true)
	trusted := secure.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	trusted.NextProtos = nil
	wrong := trusted.Clone()
	wrong.ServerName = "other.example"
	addr := func(s *httptest.Server) string { return s.Listener.Addr().String() }
	for name, c := range map[string]struct {
		d    wire.Dialer
		addr string
		word string
	}{
		"a web page":      {wire.Dialer{}, addr(serve(t, page, false)), "not a hub"},
		"TLS, not wanted": {wire.Dialer{}, addr(secure), "set hub_ca"},
		"no TLS":          {wire.Dialer{TLS: trusted}, addr(serve(t, echo, false)), "speak TLS"},
		"another name":    {wire.Dialer{TLS: wrong}, addr(secure), "hub_server_name"},
		"nothing there":   {wire.Dialer{}, "127.0.0.1:1", "refused"},
	} {
		conn, err := c.d.Dial(context.Background(), c.addr)
		if err == nil {
			_ = conn.Close()
		}
		if err == nil || !strings.Contains(err.Error(), c.word) || !strings.Contains(err.Error(), c.addr) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if c, err := (wire.Dialer{TLS: trusted}).Dial(context.Background(), addr(secure)); err != nil {
		t.Error(err)
	} else {
		_ = c.Close()
	}
	if _, err := (wire.Dialer{}).Dial(context.Background(), addr(serve(t, page, false))); !errors.Is(err, wire.ErrNotHub) {
		t.Errorf("got %v", err)
	}
}

// Large messages share places: clients without a token cannot fill the memory.
func TestLargeMessages(t *testing.T) {
	large, read := make(wire.Large, 1), make(chan int)
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		c, err := wire.Accept(w, r, large)
		if err != nil {
			return
		}
		defer func() { read <- len(large) }()
		defer c.Close()
		for {
			if _, err := c.Read(context.Background()); err != nil {
				return
			}
			read <- len(large)
		}
	}, false)
	c, err := wire.Dialer{}.Dial(t.Context(), s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for i, size := range []int{10, 1 << 20, 10, 1 << 20} {
		if err := c.Write(t.Context(), []byte("{"+strings.Repeat(" ", size))); err != nil {
			t.Fatal(err)
		}
		if got, want := <-read, i%2; got != want {
			t.Errorf("message %d of %d bytes takes %d places", i, size, got)
		}
	}
	_ = c.Close()
	if n := <-read; n != 0 {
		t.Errorf("%d places are taken by a closed connection", n)
	}
}

// A short message with very many targets is refused before it is decoded.
func TestManyTargets(t *testing.T) {
	b := []byte(`{"hello":{"targets":[{}` + strings.Repeat(",{}", 1<<20) + `]}}`)
	if _, err := wire.DecodeFromAgent(b); err == nil {
		t.Error("it was decoded")
	}
}
