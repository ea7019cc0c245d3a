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

// ReadURL fetches at most record.MaxPlain bytes, counted after decompression,
// over http or https. Only the body of a 2xx answer is content. Up to five
// redirects are followed, but not from https to http. The error names the URL
// without its user, password and query, which may be secrets, and never shows
// the answer. timeout is for all of it, from the DNS request to the last byte.
func ReadURL(ctx context.Context, rawURL string, timeout time.Duration) ([]byte, error) {
	transport := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		MaxResponseHeaderBytes: 64 << 10,
		ForceAttemptHTTP2:      true,
	}
	defer transport.CloseIdleConnections()
	return readURL(ctx, rawURL, timeout, transport)
}

func readURL(ctx context.Context, rawURL string, timeout time.Duration, transport http.RoundTripper) ([]byte, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		// The parser's words quote the URL.
		return nil, fmt.Errorf("the URL cannot be parsed, %w; it is not shown, as it may hold a password", ErrSource)
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, fmt.Errorf("%s is not an http or https URL, %w", shown(u), ErrSource)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("%s: no request can be made of it, %w", shown(u), ErrSource)
	}
	client := &http.Client{Transport: transport, CheckRedirect: redirect}
	resp, err := client.Do(req)
	if err != nil {
		var quotes *url.Error // the URL, which may hold secrets
		if errors.As(err, &quotes) {
			err = quotes.Err
		}
		if strings.Contains(err.Error(), "Location header") { // and so does this
			err = errors.New("it redirects to nowhere")
		}
		return nil, named(ctx, u, timeout, err)
	}
	var content []byte
	if err = judge(resp); err == nil {
		content, err = readCapped(resp.Body, shown(u))
	}
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return nil, named(ctx, u, timeout, err)
	}
	return content, nil
}

// redirect gates one.
func redirect(req *http.Request, via []*http.Request) error {
	req.Header.Del("Referer") // it may hold secrets
	switch from, to := via[len(via)-1].URL, req.URL; {
	case len(via) > maxRedirects:
		return fmt.Errorf("more than %d redirects", maxRedirects)
	case to.Host == "" || to.Scheme != "http" && to.Scheme != "https":
		return errors.New("it redirects to a URL that is not http or https")
	case from.Scheme == "https" && to.Scheme == "http":
		return errors.New("it redirects from https to http, where the network could change the content")
	}
	return nil
}

// judge is why an answer is no content.
func judge(resp *http.Response) error {
	if resp.StatusCode < 200 || resp.StatusCode >= 300 {
		return fmt.Errorf("the answer has status %d %s; only 2xx is content", resp.StatusCode, http.StatusText(resp.StatusCode))
	}
	e := resp.Header.Get("Content-Encoding") // removed where the transport decompresses
	if e != "" && !strings.EqualFold(e, "identity") {
		return errors.New("the answer has an encoding that was not requested")
	}
	return nil
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
