package observe

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"kvexpress/internal/kv"
	"kvexpress/internal/safetext"
)

// DefaultDatadogHost is the default address for events.
const DefaultDatadogHost = "https://api.datadoghq.com"

const (
	eventTimeout  = 5 * time.Second
	maxEventText  = 4000 // Datadog's limit
	maxEventTitle = 500  // Datadog's limit
)

// ErrEventRefused: Datadog, or a proxy in its place, did not accept the event.
var ErrEventRefused = errors.New("the event was not accepted")

// EventOptions configure Events.
type EventOptions struct {
	APIKey, AppKey string // both are required, or events are disabled
	// DatadogHost is the base URL; "" is DefaultDatadogHost. A host name means https. Plain http would expose the keys: it is
	// allowed for this machine only.
	DatadogHost string
	Host        string // the operating system's host name
	Direction   string // the command's name
}

// Events posts 1.x's events to Datadog's API. Each method sends one request, for at most 5 seconds. Its error is for the log, and
// never contains a key. A nil or zero Events is disabled. It is safe for concurrent use.
type Events struct {
	client         *http.Client // nil: disabled
	url            string
	apiKey, appKey string
	origin         origin
}

// NewEvents checks the options. It does not connect.
func NewEvents(o EventOptions) (*Events, error) {
	apiKey, appKey := strings.TrimSpace(o.APIKey), strings.TrimSpace(o.AppKey)
	if apiKey == "" || appKey == "" {
		return &Events{}, nil
	}
	safetext.Hide(apiKey)
	safetext.Hide(appKey)
	base, err := parseDatadogHost(o.DatadogHost)
	if err != nil {
		return nil, err
	}
	return &Events{
		client: &http.Client{
			Timeout: eventTimeout,
			// Do not send the keys to another host.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			Transport: &http.Transport{
				Proxy:                  http.ProxyFromEnvironment,
				DisableKeepAlives:      true, // the command ends soon
				MaxResponseHeaderBytes: 64 << 10,
			},
		},
		url:    base + "/api/v1/events",
		apiKey: apiKey, appKey: appKey,
		origin: origin{host: o.Host, direction: o.Direction},
	}, nil
}

// Enabled reports whether events are posted, for callers with an expensive text, such as a diff.
func (e *Events) Enabled() bool { return e != nil && e.client != nil }

// Updated: a publish changed the data at this path of the store.
func (e *Events) Updated(ctx context.Context, dataPath, diff string) error {
	return e.post(ctx, "Updated: "+dataPath, diff, "info", dataPath, LocationComplete, "kvexpress:success")
}

// Copied: the data of a key was published as another key.
func (e *Events) Copied(ctx context.Context, from, to string) error {
	title := fmt.Sprintf("Copy: %s to %s", from, to)
	return e.post(ctx, title, title, "info", to, LocationComplete, "kvexpress:success", tag("keyFrom", from))
}

// StopPresent: the stop at this path refused a publish.
func (e *Events) StopPresent(ctx context.Context, stopPath, reason string) error {
	title := fmt.Sprintf("Stop key is present: %s. Stopping.", stopPath)
	return e.post(ctx, title, reason, "error", stopPath, LocationStopPresent, "kvexpress:stop")
}

// StopSet: a key was stopped with the stop at this path.
func (e *Events) StopSet(ctx context.Context, stopPath, reason string) error {
	return e.post(ctx, "Set Stop Key: "+stopPath, reason, "warning", stopPath, LocationStopSaved, "kvexpress:stop_set")
}

// RolloutFailed: the rollout of a version did not end well. The state is one word, such as "reverted", and becomes the location
// tag.
func (e *Events) RolloutFailed(ctx context.Context, key, state string, version uint64, reason string) error {
	title := fmt.Sprintf("Rollout %s: %s. Version %d is not live.", state, key, version)
	return e.post(ctx, title, reason, "error", key, state, "kvexpress:rollout")
}

// Refused: the content of a publish was refused. The reason is one word, such as "too_large", and becomes the location tag.
// LocationNotLongEnough keeps 1.x's title and tag.
func (e *Events) Refused(ctx context.Context, key, reason, body string) error {
	if reason == LocationNotLongEnough {
		return e.post(ctx, fmt.Sprintf("Not long enough: %s. Stopping.", key), body, "error", key, reason, "kvexpress:length")
	}
	return e.post(ctx, fmt.Sprintf("Refused (%s): %s. Stopping.", reason, key), body, "error", key, reason, "kvexpress:refused")
}

func (e *Events) post(ctx context.Context, title, body, alert, key, location string, extra ...string) error {
	if !e.Enabled() {
		return nil
	}
	body = cmp.Or(body, title) // the API refuses an event without a text
	event, err := json.Marshal(struct {
		Title     string   `json:"title"`
		Text      string   `json:"text"`
		AlertType string   `json:"alert_type"`
		Tags      []string `json:"tags"`
		Host      string   `json:"host,omitempty"`
		Date      int64    `json:"date_happened"` // seconds since 1970
	}{
		safetext.Cut(title, maxEventTitle), safetext.Cut(body, maxEventText), alert,
		append(e.origin.tags(key, location), extra...), e.origin.host, time.Now().Unix(),
	})
	if err == nil {
		err = e.send(ctx, event)
	}
	if err != nil {
		return fmt.Errorf("post the event %s: %w", kv.Quote(title), err)
	}
	return nil
}

func (e *Events) send(ctx context.Context, event []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url, bytes.NewReader(event))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("DD-API-KEY", e.apiKey)
	req.Header.Set("DD-APPLICATION-KEY", e.appKey)
	resp, err := e.client.Do(req)
	if err != nil {
		return err
	}
	// The status is enough; the body may be anything.
	_ = resp.Body.Close()
	remedy := ""
	switch status := resp.StatusCode; {
	case status >= 200 && status < 300:
		return nil
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		remedy = "; check datadog_api_key and datadog_app_key"
	case status >= 300 && status < 500:
		remedy = "; check datadog_host"
	}
	return fmt.Errorf("%w: %s answered %d %s%s", ErrEventRefused, e.url, resp.StatusCode, http.StatusText(resp.StatusCode), remedy)
}

// parseDatadogHost returns the base URL without a slash at its end. Its errors do not contain the URL, which may hold a password.
func parseDatadogHost(host string) (string, error) {
	const remedy = "; write it as " + DefaultDatadogHost
	if host == "" {
		return DefaultDatadogHost, nil
	}
	if !strings.Contains(host, "://") {
		host = "https://" + host
	}
	u, err := url.Parse(host)
	switch {
	case err != nil:
		return "", errors.New("datadog_host is not a URL" + remedy)
	case u.Hostname() == "":
		return "", errors.New("datadog_host has no host" + remedy)
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return "", errors.New("datadog_host must not have a user or a query" + remedy)
	case u.Scheme == "https", u.Scheme == "http" && loopback(u.Hostname()):
		return strings.TrimRight(u.String(), "/"), nil
	case u.Scheme == "http":
		return "", fmt.Errorf("datadog_host %s uses plain http, which would expose the keys; use https", kv.Quote(u.Host))
	default:
		return "", fmt.Errorf("datadog_host has the unknown scheme %s%s", kv.Quote(u.Scheme), remedy)
	}
}

func loopback(host string) bool {
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}
