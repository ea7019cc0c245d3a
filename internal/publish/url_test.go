package publish

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/gate"
	"kvexpress/internal/record"
)

func bomb(t *testing.T) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := z.Write(make([]byte, record.MaxPlain+1))
	if err = errors.Join(err, z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// site answers as its path says.
func site(t *testing.T) *httptest.Server {
	packed := bomb(t)
	mux := http.NewServeMux()
	mux.HandleFunc("/ok", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "content\n") })
	mux.HandleFunc("/created", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusCreated)
		fmt.Fprint(w, "content\n")
	})
	mux.HandleFunc("/user", func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		fmt.Fprint(w, user, password)
	})
	mux.HandleFunc("/from", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "from ", r.Referer()) })
	mux.HandleFunc("/missing", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, "secret body")
	})
	mux.HandleFunc("/hop/{n}", func(w http.ResponseWriter, r *http.Request) {
		to := map[string]string{"5": "4", "4": "3", "3": "2", "2": "1", "1": "../ok", "6": "5"}[r.PathValue("n")]
		http.Redirect(w, r, to, http.StatusFound)
	})
	mux.HandleFunc("/to", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", r.URL.Query().Get("u"))
		w.WriteHeader(http.StatusTemporaryRedirect)
	})
	mux.HandleFunc("/nowhere", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusFound) })
	mux.HandleFunc("/bomb", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(packed) // the client may hang up
	})
	mux.HandleFunc("/brotli", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "br")
		fmt.Fprint(w, "secret body")
	})
	mux.HandleFunc("/endless", func(w http.ResponseWriter, r *http.Request) {
		for chunk := make([]byte, 1<<16); ; {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	})
	mux.HandleFunc("/short", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100")
		fmt.Fprint(w, "secret body")
	})
	mux.HandleFunc("/hang", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		if err := http.NewResponseController(w).Flush(); err == nil {
			<-r.Context().Done()
		}
	})
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	return srv
}

func TestReadURL(t *testing.T) {
	srv := site(t)
	for path, want := range map[string]string{"/ok": "content\n", "/created": "content\n", "/hop/5": "content\n",
		"/to?u=/from": "from "} {
		if b, err := ReadURL(t.Context(), srv.URL+path, time.Minute); err != nil || string(b) != want {
			t.Errorf("%s: %.40q, %v", path, b, err)
		}
	}
	for path, want := range map[string]string{
		"/missing":                  "404",
		"/hop/6":                    "redirects",
		"/nowhere":                  "302",
		"/to?u=file:///etc/passwd":  "https",
		"/to?u=http://a:s3cret@%25": "nowhere",
		"/bomb":                     "16777216",
		"/endless":                  "16777216",
		"/brotli":                   "not requested",
		"/short":                    "unexpected EOF",
	} {
		b, err := ReadURL(t.Context(), srv.URL+path, time.Minute)
		if err == nil || b != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %.40q, %v, want %q", path, b, err, want)
			continue
		}
		for _, leak := range []string{"secret", "s3cret", "passwd"} {
			if strings.Contains(err.Error(), leak) {
				t.Errorf("%s: %q shows %q", path, err, leak)
			}
		}
		if !strings.Contains(err.Error(), srv.URL) {
			t.Errorf("%s: %q does not name the URL", path, err)
		}
	}
	var r *gate.Refusal
	if _, err := ReadURL(t.Context(), srv.URL+"/bomb", time.Minute); !errors.As(err, &r) || r.Reason != gate.TooLarge {
		t.Errorf("bomb: %v, want a refusal", err)
	}
}

func TestReadURLShowsNoSecret(t *testing.T) {
	srv := site(t)
	gone := httptest.NewServer(nil)
	gone.Close()
	host, away := strings.TrimPrefix(srv.URL, "http://"), strings.TrimPrefix(gone.URL, "http://")
	for _, u := range []string{
		"http://robin:s3cret@" + host + "/missing?token=s3cret#s3cret",
		"http://robin:s3cret@" + away + "/",
		"http://robin:s3cret@" + host + "/to?u=/missing",
		"http://robin:s3cret%zz@" + host,
		"http://robin:s/3cret@" + host,
		"http://robin:\x7fs3cret@" + host,
		"ftp://robin:s3cret@" + host,
		"http:robin:s3cret@" + host,
	} {
		_, err := ReadURL(t.Context(), u, 5*time.Second)
		if err == nil {
			t.Errorf("%q: no error", u)
			continue
		}
		for _, leak := range []string{"robin", "3cret", "token"} {
			if strings.Contains(err.Error(), leak) {
				t.Errorf("%q: %q shows %q", u, err, leak)
			}
		}
	}
}

func TestReadURLKeepsCredentialsAtHome(t *testing.T) {
	home, other := site(t), site(t)
	u, err := url.Parse(home.URL)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword("robin", "s3cret")
	for to, want := range map[string]string{"/user": "robins3cret", other.URL + "/user": ""} {
		u.Path, u.RawQuery = "/to", url.Values{"u": {to}}.Encode()
		if b, err := ReadURL(t.Context(), u.String(), time.Minute); err != nil || string(b) != want {
			t.Errorf("redirected to %s: %q, %v, want %q", to, b, err, want)
		}
	}
}

func TestReadURLFromHTTPSStaysThere(t *testing.T) {
	plain := site(t)
	srv := httptest.NewTLSServer(http.RedirectHandler(plain.URL+"/ok", http.StatusFound))
	t.Cleanup(srv.Close)
	if b, err := readURL(t.Context(), srv.URL, time.Minute, srv.Client().Transport); err == nil || !strings.Contains(err.Error(), "from https to http") {
		t.Errorf("got %q, %v", b, err)
	}
	if _, err := ReadURL(t.Context(), srv.URL, time.Minute); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("unknown authority: %v", err)
	}
}

func TestReadURLTimeLimit(t *testing.T) {
	srv := site(t)
	_, err := ReadURL(t.Context(), srv.URL+"/hang", time.Millisecond)
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "not finished within 1ms") {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := ReadURL(ctx, srv.URL+"/hang", time.Minute); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
