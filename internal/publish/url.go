package publish

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// maxRedirects is how many redirects of one URL are followed.
const maxRedirects = 5

// URLOptions say how ReadURL fetches.
type URLOptions struct {
	// Timeout is for all of it, from the first look-up to the last byte.
	// 0: 30 s.
	Timeout time.Duration
	// Transport makes the requests. nil: one of its own, with the proxies of
	// the environment.
	Transport http.RoundTripper
}

// ReadURL fetches at most codec.MaxPlain bytes, counted after decompression,
// over http or https. Only the body of a 2xx answer is content. Up to five
// redirects are followed, but not from https to http. The error names the URL
// without its user, password and query, which may be secrets, and never shows
// what was answered.
func ReadURL(ctx context.Context, rawURL string, o URLOptions) ([]byte, error) {
	if o.Timeout == 0 {
		o.Timeout = 30 * time.Second
	}
	u, err := url.Parse(rawURL)
	if err != nil {
		// The parser's words quote the URL.
		return nil, fmt.Errorf("the URL cannot be parsed, %w; it is not shown, as it may hold a password", ErrSource)
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, fmt.Errorf("%s is no http or https URL, %w", shown(u), ErrSource)
	}
	transport := o.Transport
	if transport == nil {
		own := &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			MaxResponseHeaderBytes: 64 << 10,
			ForceAttemptHTTP2:      true,
		}
		defer own.CloseIdleConnections()
		transport = own
	}
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	resp, err := get(ctx, transport, u)
	if err != nil {
		return nil, named(ctx, u, o.Timeout, err)
	}
	content, err := readCapped(resp.Body, shown(u))
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return nil, named(ctx, u, o.Timeout, err)
	}
	return content, nil
}

// get follows redirects itself, because http.Client's errors quote them. Each
// request is made from its URL alone: no credentials travel to another host.
func get(ctx context.Context, transport http.RoundTripper, u *url.URL) (*http.Response, error) {
	for hop := 0; ; hop++ {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
		if err != nil {
			return nil, errors.New("no request can be made of it")
		}
		if u.User != nil {
			password, _ := u.User.Password()
			req.SetBasicAuth(u.User.Username(), password)
		}
		resp, err := transport.RoundTrip(req)
		if err != nil {
			return nil, err
		}
		if isContent(resp) {
			return resp, nil
		}
		// The body is not read: it is no content, and could be endless.
		if err := resp.Body.Close(); err != nil {
			return nil, err
		}
		u, err = redirect(resp, u)
		if err != nil {
			return nil, err
		}
		if hop == maxRedirects {
			return nil, fmt.Errorf("more than %d redirects", maxRedirects)
		}
	}
}

func isContent(resp *http.Response) bool {
	e := resp.Header.Get("Content-Encoding") // removed where the transport decompresses
	return resp.StatusCode >= 200 && resp.StatusCode < 300 && (e == "" || strings.EqualFold(e, "identity"))
}

// redirect is where an answer that is no content points to.
func redirect(resp *http.Response, from *url.URL) (*url.URL, error) {
	switch resp.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
		http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
	default:
		if resp.StatusCode >= 200 && resp.StatusCode < 300 {
			return nil, errors.New("the answer is in an encoding that was not asked for")
		}
		return nil, fmt.Errorf("the answer has status %d %s; only 2xx is content", resp.StatusCode, http.StatusText(resp.StatusCode))
	}
	to, err := resp.Location()
	switch {
	case err != nil:
		return nil, fmt.Errorf("status %d redirects to nowhere", resp.StatusCode)
	case to.Host == "" || to.Scheme != "http" && to.Scheme != "https":
		return nil, errors.New("it redirects to what is no http or https URL")
	case from.Scheme == "https" && to.Scheme == "http":
		return nil, errors.New("it redirects from https to http, where anybody could change the content")
	}
	return to, nil
}

func named(ctx context.Context, u *url.URL, limit time.Duration, err error) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("read %s: not finished within %v: %w", shown(u), limit, err)
	}
	return fmt.Errorf("read %s: %w", shown(u), err)
}

// shown is a URL without what may be secret in it.
func shown(u *url.URL) string {
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}
