//go:build linux

package scale

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"kvexpress/internal/kv"
)

// maxAnswer is the most bytes that are read of an answer of Consul.
const maxAnswer = 1 << 20

// acl makes policies and tokens, as an operator with the management token.
type acl struct {
	server Server
	token  string
	client *http.Client
}

// tokens makes the token of each node, and that of the publisher: each may do what
// `kvexpress acl` prints for its role, and no more.
func (s *site) tokens(ctx context.Context) ([]string, error) {
	const anyone = "node-0000" // no node has this name
	var ofNode, ofPublisher string
	for _, k := range []kv.Key{keyHosts, keyAdHoc} {
		text, err := s.kvexpress(ctx, "acl", "node", "-k", string(k), "--node", anyone)
		if err != nil {
			return nil, err
		}
		ofNode += string(text.out)
		if text, err = s.kvexpress(ctx, "acl", "publisher", "-k", string(k)); err != nil {
			return nil, err
		}
		ofPublisher += string(text.out)
	}
	transport := &http.Transport{MaxIdleConnsPerHost: atOnce}
	defer transport.CloseIdleConnections()
	admin := acl{s.Servers[0], s.Token, &http.Client{Timeout: 30 * time.Second, Transport: transport}}
	var err error
	if s.publisher, err = admin.role(ctx, "scale-publisher", ofPublisher); err != nil {
		return nil, err
	}
	all := make([]string, len(s.nodes))
	making, fail := context.WithCancelCause(ctx) // the first failure is that of all
	defer fail(nil)
	var wg sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	for i, n := range s.nodes {
		slots <- struct{}{}
		if making.Err() != nil {
			break
		}
		wg.Go(func() {
			defer func() { <-slots }()
			var err error
			if all[i], err = admin.role(making, "scale-"+n.name, strings.ReplaceAll(ofNode, anyone, n.name)); err != nil {
				fail(err)
			}
		})
	}
	wg.Wait()
	if making.Err() != nil {
		return nil, context.Cause(making)
	}
	// Servers take writes in one order: one that knows the last token knows all.
	last, err := admin.role(ctx, "scale-last", ofPublisher)
	if err != nil {
		return nil, err
	}
	for _, server := range s.Servers {
		if err := s.until(ctx, "know the tokens at "+server.Addr, func() error {
			return acl{server, last, admin.client}.call(ctx, http.MethodGet, "/v1/acl/token/self?stale", nil, nil)
		}); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// role makes a policy and a token that has it, and returns the token's secret.
func (a acl) role(ctx context.Context, name, rules string) (string, error) {
	if err := a.call(ctx, http.MethodPut, "/v1/acl/policy", map[string]any{"Name": name, "Rules": rules}, nil); err != nil {
		return "", fmt.Errorf("create the policy %s: %w", name, err)
	}
	var token struct{ SecretID string }
	request := map[string]any{"Policies": []any{map[string]any{"Name": name}}}
	if err := a.call(ctx, http.MethodPut, "/v1/acl/token", request, &token); err != nil {
		return "", fmt.Errorf("create the token for %s: %w", name, err)
	}
	return token.SecretID, nil
}

// call sends in, unless that is nil, and decodes the answer into out, unless that is.
func (a acl) call(ctx context.Context, method, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	if in == nil {
		body = nil
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+a.server.Addr+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("X-Consul-Token", a.token)
	resp, err := a.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("consul at %s: %s: %s", a.server.Addr, resp.Status, bytes.TrimSpace(answer))
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(answer, out)
}
