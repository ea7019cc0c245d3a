//go:build linux

package e2e

import (
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Hub is a `kvexpress hub` of a test: a process of its own.
type Hub struct {
	*Daemon
	Addr string // host:port
}

var listening = regexp.MustCompile(`listening address=["']?([][0-9.:]+:[0-9]+)`)

// Hub runs one until the test ends, and waits until it listens: on loopback, unless args say otherwise.
func (m *Machine) Hub(name string, args ...string) *Hub {
	m.T.Helper()
	return m.HubOf(Program.Path, name, args...)
}

// HubOf is Hub with another program.
func (m *Machine) HubOf(binary, name string, args ...string) *Hub {
	m.T.Helper()
	if !slices.Contains(args, "--listen") {
		args = append(slices.Clip(args), "--listen", "127.0.0.1:0")
	}
	h := &Hub{Daemon: m.Start(name, append([]string{binary, "hub"}, args...)...)}
	Eventually(m.T, "the hub listens", func() bool {
		if h.Ended() {
			m.T.Fatalf("the hub ended: %v\n%s", h.Cmd.ProcessState, Tail(h.Said(), 10))
		}
		found := listening.FindStringSubmatch(h.Said())
		if found != nil {
			h.Addr = found[1]
		}
		return found != nil
	})
	return h
}

// Get is a page, "" if there is none.
func (h *Hub) Get(path string) string {
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + h.Addr + path)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return ""
	}
	return string(body)
}

// Metric is a metric of the hub itself, such as agents; -1 if it cannot be read.
func (h *Hub) Metric(name string) float64 {
	_, after, found := strings.Cut("\n"+h.Get("/metrics"), "\nkvexpress_hub_"+name+" ")
	text, _, _ := strings.Cut(after, "\n")
	if n, err := strconv.ParseFloat(text, 64); found && err == nil {
		return n
	}
	return -1
}
