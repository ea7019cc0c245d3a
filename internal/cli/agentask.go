package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"kvexpress/internal/agent"
	"kvexpress/internal/config"
	"kvexpress/internal/httpd"
)

const (
	// systemSocket is where the agent of the machine listens by default.
	systemSocket = "/run/kvexpress/agent.sock"

	agentLimit     = 5 * time.Second
	maxAgentAnswer = 8 << 20 // bytes: of thousands of targets
)

// agentAddress is the address of the agent, from a flag or its configuration. The default configuration need not be readable:
// then the command asks the machine's own agent, which says why it refuses that configuration.
func (a *App) agentAddress(g *globals, listen string) (string, error) {
	if listen != "" {
		return listen, nil
	}
	path := cmp.Or(g.config, defaultAgentFile)
	c, _, err := a.loadAgentFile(path)
	switch {
	case err != nil && g.config == "":
		return systemSocket, nil
	case err != nil:
		return "", fmt.Errorf("%w; --listen names the agent's address without a configuration", err)
	case c.Listen == "":
		return "", fmt.Errorf("%s has an empty listen: this agent has no address; set listen and restart the agent", path)
	}
	// A default depends on the user who reads the file, and the agent may run as another one.
	if own := config.DefaultListen(os.Geteuid() == 0, a.Getenv, c.StateDir); c.Listen == own {
		if _, err := os.Lstat(own); errors.Is(err, fs.ErrNotExist) {
			return systemSocket, nil
		}
	}
	return c.Listen, nil
}

// askAgent gets the status of the agent that listens on addr, as a value and as it was sent.
func askAgent(ctx context.Context, addr string) (agent.Status, json.RawMessage, error) {
	network, host := "unix", "localhost"
	if !filepath.IsAbs(addr) {
		name, _, err := net.SplitHostPort(addr)
		if err != nil {
			return agent.Status{}, nil, fmt.Errorf("the agent's address %q is neither an absolute path nor host:port", addr)
		}
		network = "tcp"
		if name != "" {
			host = addr
		}
	}
	ctx, cancel := context.WithTimeout(ctx, agentLimit)
	defer cancel()
	client := &http.Client{
		Transport: &http.Transport{ // no proxy: it is this machine, or one that was named
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, addr)
			},
			DisableKeepAlives:      true,
			MaxResponseHeaderBytes: 64 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	at := url.URL{Scheme: "http", Host: host, Path: httpd.StatusPath}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
	if err != nil {
		return agent.Status{}, nil, fmt.Errorf("the agent's address %q: %w", addr, err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return agent.Status{}, nil, noAnswerFrom(addr, err)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAgentAnswer+1))
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return agent.Status{}, nil, noAnswerFrom(addr, err)
	}
	var s agent.Status
	switch {
	case resp.StatusCode != http.StatusOK:
		line, _, _ := strings.Cut(string(body[:min(len(body), 300)]), "\n")
		err = fmt.Errorf("the server on %s answers %d: %s", addr, resp.StatusCode, line)
	case len(body) > maxAgentAnswer:
		err = fmt.Errorf("the server on %s is no agent: its answer has more than %d bytes", addr, maxAgentAnswer)
	case json.Unmarshal(body, &s) != nil || s.Started.IsZero():
		err = fmt.Errorf("the server on %s is no agent", addr)
	}
	return s, body, err
}

// noAnswerFrom says why an agent did not answer, and what to do about it.
func noAnswerFrom(addr string, err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("the agent on %s did not answer within %s: it may be stuck, see `systemctl status kvexpress-agent` and "+
			"its log", addr, agentLimit)
	}
	if op := (*net.OpError)(nil); errors.As(err, &op) {
		err = op.Err // without the address
	}
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("no permission to ask the agent on %s; run as root, the agent's user or the socket's group, see `ls -l "+
			"%[1]s`: %[2]w", addr, err)
	}
	return fmt.Errorf("no answer on %s: %w; `systemctl status kvexpress-agent` shows if the agent runs; -C, or "+
		"`kvexpress agent status --listen`, names another address", addr, err)
}
