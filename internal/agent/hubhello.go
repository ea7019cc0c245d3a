package agent

import (
	"cmp"
	"reflect"
	"slices"
	"time"

	"kvexpress/internal/config"
	"kvexpress/internal/install"
	"kvexpress/internal/kv"
	"kvexpress/internal/wire"
)

// helloEvery is the least time between two hellos of a connection. A hub refuses more.
const helloEvery = 1100 * time.Millisecond

// greeting is a hello that was sent.
type greeting struct {
	at    time.Time
	files map[kv.Key][]string
}

// hello is what this node tells a hub now.
func (h *hubSource) hello() (wire.Hello, map[kv.Key][]string, error) {
	h.mu.Lock()
	hello, targets, token := h.about, h.targets, h.uplink.Token
	h.mu.Unlock()
	var err error
	if hello.Token, err = token(); err != nil {
		return hello, nil, err
	}
	files, on := map[kv.Key][]string{}, map[kv.Key]string{}
	hello.Targets = make([]wire.Target, len(targets))
	for i, t := range targets {
		names := []string{t.File}
		if real, err := install.Resolve(t.File); err == nil && real != t.File { // else the install says why
			names = append(names, real)
		}
		hello.Targets[i] = wire.Target{
			Key: string(t.Key), Files: names, Rollout: t.on(), SHA256: t.snapshot().SHA256, Probed: len(t.Probe) > 0,
		}
		files[t.Key] = append(files[t.Key], names...)
		on[t.Key] = cmp.Or(on[t.Key], hello.Targets[i].Rollout)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for k, id := range on {
		if held := h.keys[k]; held != nil {
			held.offer.last = cmp.Or(held.offer.last, id)
		}
	}
	return hello, files, nil
}

// greet sends a new hello if it differs from the last one.
func (h *hubSource) greet() {
	hello, files, err := h.hello()
	h.mu.Lock()
	s := h.session
	if err != nil || s == nil {
		h.mu.Unlock()
		return // the next connection tells
	}
	now := time.Now()
	rest := s.helloAt.Add(helloEvery).Sub(now)
	if same(s.last, hello) || rest > 0 {
		if rest > 0 && !same(s.last, hello) {
			time.AfterFunc(rest, h.greet)
		}
		h.mu.Unlock()
		return
	}
	s.last, s.helloAt = hello, now
	s.sent = append(s.sent, greeting{now, files})
	h.mu.Unlock()
	_ = s.send(s.ctx, wire.FromAgent{Hello: &hello}) // if the session ends, the next one tells
}

// refreshToken tells the hub a token that has changed in its file.
func (h *hubSource) refreshToken(s *session) {
	h.mu.Lock()
	read, last := h.uplink.Token, s.last.Token
	h.mu.Unlock()
	if token, err := read(); err == nil && token != last { // else the last token counts
		go h.greet() // it waits for the writer, which calls this
	}
}

// same compares hellos, but for the bytes in place: receipts and health reports tell of them.
func same(a, b wire.Hello) bool {
	bare := func(h wire.Hello) wire.Hello {
		h.Targets = slices.Clone(h.Targets)
		for i := range h.Targets {
			h.Targets[i].SHA256, h.Targets[i].Rollout = "", ""
		}
		return h
	}
	return reflect.DeepEqual(bare(a), bare(b))
}

// names reports whether the last hello named the files of all locks among the paths.
func (s *session) names(k kv.Key, paths []string) bool {
	h := s.source
	h.mu.Lock()
	defer h.mu.Unlock()
	files := s.files[k]
	if n := len(s.sent); n > 0 {
		files = s.sent[n-1].files[k]
	}
	for _, path := range paths {
		if _, _, lock := h.layout.LockOf(path); lock &&
			!slices.ContainsFunc(files, func(file string) bool { return h.layout.Lock(file, h.host) == path }) {
			return false
		}
	}
	return true
}

// serve sets the targets, and tells the hub. Uplink, labels and whether outputs are sent may be new, too.
func (h *hubSource) serve(targets []*target, c config.Config, u Uplink) {
	h.mu.Lock()
	h.targets, h.about.Labels, h.output, h.uplink = targets, c.Labels, c.Output, u
	h.mu.Unlock()
	select {
	case h.reloaded <- struct{}{}:
	default: // it is known
	}
	h.greet()
}
