package wire

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"kvexpress/internal/safetext"
)

// Client asks a hub over HTTP, for commands.
type Client struct {
	Dialer
	Addr  string                 // host:port, or the absolute path of a socket
	Token func() (string, error) // asked at each request; nil or "": none
}

// ErrForbidden: the hub does not answer a caller with this token.
var ErrForbidden = errors.New("permission denied")

// Get gets a page of at most so many bytes. An error names the hub, the cause and a remedy; it wraps ErrForbidden or ErrNotHub.
func (c Client) Get(ctx context.Context, path string, query url.Values, most int64) ([]byte, error) {
	b, err := c.do(ctx, http.MethodGet, path+"?"+query.Encode(), nil, most)
	if err != nil {
		return nil, fmt.Errorf("ask the hub %s: %w", c.Addr, explain(err))
	}
	return b, nil
}

// Post posts JSON to a page, and returns an answer of at most so many bytes. Errors are those of Get.
func (c Client) Post(ctx context.Context, path string, body []byte, most int64) ([]byte, error) {
	b, err := c.do(ctx, http.MethodPost, path, body, most)
	if err != nil {
		return nil, fmt.Errorf("ask the hub %s: %w", c.Addr, explain(err))
	}
	return b, nil
}

func (c Client) do(ctx context.Context, method, path string, body []byte, most int64) ([]byte, error) {
	client, base := c.client(c.Addr)
	r, err := http.NewRequestWithContext(ctx, method, base+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if c.Token != nil {
		token, err := c.Token()
		if err != nil {
			return nil, err
		}
		if token != "" {
			r.Header.Set("X-Consul-Token", token)
		}
	}
	answer, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(io.LimitReader(answer.Body, most+1))
	switch {
	case answer.Header.Get(Header) == "":
		return nil, fmt.Errorf("%w: it answers with HTTP status %d; check its address", ErrNotHub, answer.StatusCode)
	case answer.StatusCode == http.StatusForbidden:
		return nil, fmt.Errorf("%w: %s", ErrForbidden, safetext.Line(string(b), 512))
	case answer.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("HTTP status %d: %s", answer.StatusCode, safetext.Line(string(b), 512))
	case err != nil:
		return nil, err
	case int64(len(b)) > most:
		return nil, fmt.Errorf("the answer has more than %d MiB", most>>20)
	}
	return b, nil
}

// Header is in every answer of a hub to a Client. Its value is Protocol.
const Header = "X-Kvexpress-Hub"

// ReceiptsPath is where a hub answers about receipts: a fleet.Page. Its parameters are since, and wait in milliseconds.
const ReceiptsPath = "/hub/receipts"
