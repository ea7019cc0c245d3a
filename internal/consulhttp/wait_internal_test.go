package consulhttp

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"kvexpress/internal/store/local"
)

func newHandler(t *testing.T) *Handler {
	t.Helper()
	engine, err := local.Open(local.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = engine.Close() })
	return New(Options{Engine: engine})
}

func set(t *testing.T, h *Handler, path string) uint64 {
	t.Helper()
	if _, err := h.engine.Apply(t.Context(), local.Op{Verb: local.Set, Path: path, Value: []byte(time.Now().String())}); err != nil {
		t.Fatal(err)
	}
	return h.engine.View().Get(path).ModifyIndex
}

// parked is a query that waits in a goroutine of its own.
type parked struct {
	asked  chan uint64                     // the index of each answer that was looked at
	result chan *httptest.ResponseRecorder // closed when the request is over
}

func park(ctx context.Context, h *Handler, q query) *parked {
	p := &parked{asked: make(chan uint64, 1000), result: make(chan *httptest.ResponseRecorder, 1)}
	ask := q.ask
	q.ask = func(v local.View) answer {
		a := ask(v)
		p.asked <- a.index
		return a
	}
	go func() {
		defer close(p.result)
		w := httptest.NewRecorder()
		h.o.Server.Wait(w, httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil), h.waiting(q, false))
		p.result <- w
	}()
	return p
}

// settle waits until the query has looked twice: before and after it asked to be woken.
func (p *parked) settle() {
	<-p.asked
	<-p.asked
}

// This is what differs from Consul, where each of the writes would end the query.
func TestUnrelatedWritesDoNotWake(t *testing.T) {
	for name, test := range map[string]struct {
		topic local.Topic
		ask   func(*Handler) func(local.View) answer
	}{
		"list of an empty prefix": {local.PrefixTopic("app/"), func(h *Handler) func(local.View) answer { return h.askList(grant{}, "app/", false) }},
		"keys of an empty prefix": {local.PrefixTopic("app/"), func(h *Handler) func(local.View) answer { return h.askKeys(grant{}, "app/", "/", false) }},
		"missing key":             {local.KeyTopic("app/x"), func(h *Handler) func(local.View) answer { return h.askRow(grant{}, "app/x", asRaw) }},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHandler(t)
			index := set(t, h, "other")
			p := park(t.Context(), h, query{topic: test.topic, minIndex: index, ask: test.ask(h)})
			p.settle()
			for range 50 {
				set(t, h, "other")
				set(t, h, "app")
				set(t, h, "apq/x")
			}
			want := set(t, h, "app/x")
			if got := (<-p.result).Header().Get("X-Consul-Index"); got != strconv.FormatUint(want, 10) {
				t.Errorf("it was answered with index %s, want %d", got, want)
			}
			if n := len(p.asked); n != 1 {
				t.Errorf("it was woken %d times, want once", n)
			}
		})
	}
}

// That nothing is there is no news, whatever the index; that something was there is.
func TestMissingIsNoNews(t *testing.T) {
	h := newHandler(t)
	var missing bool
	index := uint64(10)
	p := &pending{query: query{minIndex: 10, ask: func(local.View) answer { return answer{index: index, found: !missing} }}}
	for i, step := range []struct {
		index   uint64
		missing bool
		want    bool
	}{
		{10, false, false}, {11, true, true}, // deleted
		{12, true, false}, {13, true, false}, // others have changed
		{14, false, true}, // made again
	} {
		index, missing = step.index, step.missing
		if _, ready := p.look(h.engine.View()); ready != step.want {
			t.Errorf("look %d: ready is %v, want %v", i, ready, step.want)
		}
	}
}

func TestWaitEnds(t *testing.T) {
	q := func(h *Handler) query {
		return query{topic: local.KeyTopic("x"), minIndex: set(t, h, "y"), ask: h.askRow(grant{}, "x", asRaw)}
	}
	t.Run("with the client", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		h := newHandler(t)
		p := park(ctx, h, q(h))
		p.settle()
		cancel()
		if w := <-p.result; len(w.Header()) != 0 {
			t.Errorf("a client that is gone was answered: %v", w)
		}
	})
	t.Run("with its time", func(t *testing.T) {
		h := newHandler(t)
		slow := q(h)
		slow.wait = time.Nanosecond
		if w := <-park(t.Context(), h, slow).result; w.Code != http.StatusNotFound {
			t.Errorf("it was answered with %+v", w)
		}
	})
	for asked, want := range map[time.Duration]time.Duration{0: defaultWait, -1: defaultWait, time.Hour: maxWait, time.Second: time.Second} {
		for range 100 {
			if got := waitFor(asked); got < want || got > want+want/jitterPart {
				t.Fatalf("a wait of %s takes %s", asked, got)
			}
		}
	}
}

// What many watch is made once, in each form.
func TestRowIsRenderedOnce(t *testing.T) {
	h := newHandler(t)
	row := func(index uint64, size int) *local.Row {
		return &local.Row{Path: "k", Value: make([]byte, size), ModifyIndex: index}
	}
	old, newer := row(5, 22000), row(6, 22000)
	for f := range forms {
		if a, b := h.cache.of(newer).bytes(f), h.cache.of(newer).bytes(f); &a[0] != &b[0] {
			t.Errorf("form %d was made twice", f)
		}
		if a, b := h.cache.of(newer).zipped(f), h.cache.of(newer).zipped(f); &a[0] != &b[0] {
			t.Errorf("form %d was compressed twice", f)
		}
	}
	kept := h.cache.of(newer)
	if h.cache.of(old).row != old || h.cache.of(newer) != kept {
		t.Error("an older row has taken the place of a newer one")
	}
	if again := row(7, 22000); h.cache.of(again).row != again || h.cache.of(newer) == kept {
		t.Error("a newer row has not taken the place of an older one")
	}
	for i := range 200 {
		h.cache.of(&local.Row{Path: string(rune('a' + i)), Value: make([]byte, 512<<10)})
		total := 0
		for _, kept := range h.cache.rows {
			total += cacheCost * len(kept.row.Value)
		}
		if total != h.cache.size || total > cacheSize {
			t.Fatalf("%d bytes are kept, and %d counted", total, h.cache.size)
		}
	}
}

// A client that takes its time with a long list has no compressor that others need.
func TestCompressorsRunOut(t *testing.T) {
	h := newHandler(t)
	for range cap(h.gzips.free) {
		<-h.gzips.free
	}
	w := httptest.NewRecorder()
	s := h.stream(w, true, http.StatusOK, jsonText)
	s.add(make([]byte, 100<<10))
	s.close()
	if w.Header().Get("Content-Encoding") != "" || w.Body.Len() != 100<<10 {
		t.Errorf("%v, %d bytes", w.Header(), w.Body.Len())
	}
	h.gzips.free <- nil
	w = httptest.NewRecorder()
	s = h.stream(w, true, http.StatusOK, jsonText)
	s.add(make([]byte, 100<<10))
	s.close()
	if w.Header().Get("Content-Encoding") != "gzip" || w.Body.Len() > 10<<10 || len(h.gzips.free) != 1 {
		t.Errorf("%v, %d bytes, %d free", w.Header(), w.Body.Len(), len(h.gzips.free))
	}
}
