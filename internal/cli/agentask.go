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

// agentAddress is where the agent listens: as a flag says, or its configuration.
// A configuration that nobody named need not be readable: then it is the machine's
// own agent, also because it may be asked why it refuses that configuration.
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
		return "", fmt.Errorf("%s has an empty listen: nobody can ask this agent; set it, and restart the agent", path)
	}
	// What is not in the file depends on who reads it, and that may not be the
	// user of the agent.
	if own := config.DefaultListen(os.Geteuid() == 0, a.Getenv, c.StateDir); c.Listen == own {
		if _, err := os.Lstat(own); errors.Is(err, fs.ErrNotExist) {
			return systemSocket, nil
		}
	}
	return c.Listen, nil
}

// askAgent gets the status of the agent that listens on addr, as a value and as it
// was sent.
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
		return agent.Status{}, nil, agentSilence(addr, err)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAgentAnswer+1))
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return agent.Status{}, nil, agentSilence(addr, err)
	}
	var s agent.Status
	switch {
	case resp.StatusCode != http.StatusOK:
		line, _, _ := strings.Cut(string(body[:min(len(body), 300)]), "\n")
		err = fmt.Errorf("what listens on %s says %d: %s", addr, resp.StatusCode, line)
	case len(body) > maxAgentAnswer:
		err = fmt.Errorf("what listens on %s says more than %d bytes: it is no agent", addr, maxAgentAnswer)
	case json.Unmarshal(body, &s) != nil || s.Started.IsZero():
		err = fmt.Errorf("what listens on %s is no agent", addr)
	}
	return s, body, err
}

// agentSilence says why an agent did not answer, and what to do about it.
func agentSilence(addr string, err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("the agent on %s did not answer within %s: it may be stuck, see `systemctl status kvexpress-agent` and "+
			"its log", addr, agentLimit)
	}
	if op := (*net.OpError)(nil); errors.As(err, &op) {
		err = op.Err // without the address
	}
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("you may not ask the agent on %s: only root, its user and the group of the socket may, see `ls -l "+
			"%[1]s`: %[2]w", addr, err)
	}
	return fmt.Errorf("nobody answers on %s: %w; is the agent running? see `systemctl status kvexpress-agent`; -C or --listen "+
		"say where it listens", addr, err)
}
