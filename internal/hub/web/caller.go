package web

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"kvexpress/internal/kv"
)

const (
	cookieName = "kvexpress_token"
	maxToken   = 2048 // bytes
	maxForm    = 16 << 10
	// rightsFor is how long a caller's rights are known, and maxKnown how many callers are.
	rightsFor = 30 * time.Second
	maxKnown  = 256
)

// useCookie puts the token of the session into the request, unless it has one.
func useCookie(r *http.Request) *http.Request {
	token, ok := cookieToken(r)
	if !ok || r.Header.Get("X-Consul-Token")+r.Header.Get("Authorization") != "" {
		return r
	}
	r = r.Clone(r.Context())
	r.Header.Set("X-Consul-Token", token)
	return r
}

func cookieToken(r *http.Request) (string, bool) {
	c, err := r.Cookie(cookieName)
	if err != nil {
		return "", false
	}
	token, err := base64.RawURLEncoding.DecodeString(c.Value)
	return string(token), err == nil && len(token) > 0 && len(token) <= maxToken && printable(string(token))
}

func printable(token string) bool {
	return !strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' })
}

// login shows the form for a token.
func (w *Web) login(rw http.ResponseWriter, r *http.Request, code int, why string) {
	at := r.URL.RequestURI()
	if r.URL.Path == "/login" {
		at = r.FormValue("at")
	}
	w.write(rw, code, view{"Token", loginMarkup(why, localPath(at))})
}

// enter takes the token of the form into a cookie that ends with the browser's session.
func (w *Web) enter(rw http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(rw, r.Body, maxForm)
	token, at := strings.TrimSpace(r.PostFormValue("token")), localPath(r.PostFormValue("at"))
	tell := func(code int, why string) {
		w.write(rw, code, view{"Token", loginMarkup(why, at)})
	}
	switch {
	case !w.o.Private(r):
		tell(http.StatusForbidden, "A token goes over TLS or from this machine only; give the hub --tls-cert and --tls-key.")
		return
	case token == "" || len(token) > maxToken || !printable(token):
		tell(http.StatusBadRequest, "This is no token.")
		return
	}
	try := r.Clone(r.Context())
	try.Header.Del("Authorization")
	try.Header.Set("X-Consul-Token", token)
	if err := w.o.MayRead(try); err != nil {
		tell(http.StatusForbidden, err.Error())
		return
	}
	w.setCookie(rw, base64.RawURLEncoding.EncodeToString([]byte(token)), 0)
	http.Redirect(rw, r, at, http.StatusSeeOther) //nolint:gosec // localPath has made it a path of this hub
}

// leave forgets the token.
func (w *Web) leave(rw http.ResponseWriter, r *http.Request) {
	w.setCookie(rw, "", -1)
	http.Redirect(rw, r, "/fleet", http.StatusSeeOther)
}

func (w *Web) setCookie(rw http.ResponseWriter, value string, age int) {
	//nolint:gosec // Secure follows
	c := &http.Cookie{Name: cookieName, Value: value, Path: "/", MaxAge: age, HttpOnly: true, SameSite: http.SameSiteStrictMode}
	c.Secure = w.o.Secure // without TLS, only this machine can log in
	http.SetCookie(rw, c)
}

// localPath is a path of this hub; /fleet for any other address.
func localPath(at string) string {
	u, err := url.Parse(at)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || u.Opaque != "" || !strings.HasPrefix(at, "/") ||
		strings.HasPrefix(at, "//") || strings.ContainsAny(at, "\\\r\n") || strings.HasPrefix(u.Path, "/log") {
		return "/fleet"
	}
	return at
}

// rights remembers for a short time what callers may read.
type rights struct {
	ask kv.Permissions

	mu    sync.Mutex
	known map[string]map[string]verdict // by the digest of the token, and the path
}

type verdict struct {
	may bool
	at  time.Time
}

// may reports for each path whether a token may read the row. The error is that it could not be checked.
func (r *rights) may(ctx context.Context, token string, paths ...string) (map[string]bool, error) {
	sum := sha256.Sum256([]byte(token))
	id, now, may := string(sum[:]), time.Now(), make(map[string]bool, len(paths))
	var unknown []string
	r.mu.Lock()
	for _, path := range paths {
		if v, ok := r.known[id][path]; ok && now.Sub(v.at) < rightsFor {
			may[path] = v.may
		} else {
			unknown = append(unknown, path)
		}
	}
	r.mu.Unlock()
	for len(unknown) > 0 {
		some := unknown[:min(len(unknown), kv.MaxOps)]
		unknown = unknown[len(some):]
		denied, err := r.ask.Denied(ctx, token, some, nil)
		if err != nil {
			return nil, err
		}
		for _, path := range some {
			may[path] = true
		}
		for _, path := range denied {
			may[path] = false
		}
		r.note(id, now, some, may)
	}
	return may, nil
}

func (r *rights) note(id string, now time.Time, paths []string, may map[string]bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.known) >= maxKnown || len(r.known[id]) > 4*maxKeys {
		clear(r.known)
	}
	if r.known[id] == nil {
		r.known[id] = map[string]verdict{}
	}
	for _, path := range paths {
		r.known[id][path] = verdict{may[path], now}
	}
}

// readable are the keys whose manifest and stop the caller may read: without it, only receipts tell about a key.
func (w *Web) readable(a *asked, keys ...kv.Key) (map[kv.Key]bool, error) {
	paths := make([]string, 0, 2*len(keys))
	for _, k := range keys {
		paths = append(paths, w.o.Layout.Manifest(k), w.o.Layout.Stop(k))
	}
	may, err := w.rights.may(a.ctx, w.o.Token(a.r), paths...)
	if err != nil {
		return nil, err
	}
	all := make(map[kv.Key]bool, len(keys))
	for i, k := range keys {
		all[k] = may[paths[2*i]] && may[paths[2*i+1]]
	}
	return all, nil
}

// mayReadData are the keys whose data, and so the outputs of commands, the caller may see.
func (w *Web) mayReadData(a *asked, keys ...kv.Key) map[kv.Key]bool {
	paths := make([]string, len(keys))
	for i, k := range keys {
		paths[i] = w.o.Layout.Data(k)
	}
	may, err := w.rights.may(a.ctx, w.o.Token(a.r), paths...)
	all := make(map[kv.Key]bool, len(keys))
	for i, k := range keys {
		all[k] = err == nil && w.o.Private(a.r) && may[paths[i]]
	}
	return all
}
