package agent_test

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"kvexpress/internal/install"
)

// Between the agent and the store is a proxy that allows an answer 2 s. Nothing is wrong, so nothing is logged. Once the
// store itself is unreachable, the log says so.
func TestAProxyThatEndsWaits(t *testing.T) {
	t.Parallel()
	to := newLine(t, storeAddr(t))
	var ended atomic.Int64
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: to.addr})
	proxy.Transport = &http.Transport{ResponseHeaderTimeout: 2 * time.Second}
	proxy.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) {
		ended.Add(1)
		w.WriteHeader(http.StatusGatewayTimeout)
	}
	server := httptest.NewServer(proxy)
	defer server.Close()
	n := newNode(t, server.Listener.Addr().String(), install.Target{Key: "hosts"})
	n.begin("one\n")
	until(t, "waits were ended", func() bool { return ended.Load() >= 2 })
	<-time.After(3 * time.Second)
	n.publish("hosts", "two\n")
	n.current(0, "two\n")
	if said := n.log.String(); strings.Contains(said, "store unreachable") {
		t.Error("the store counts as unreachable")
	}
	to.cut()
	until(t, "the log says store unreachable", func() bool { return strings.Contains(n.log.String(), "store unreachable") })
	to.mend()
	n.publish("hosts", "three\n")
	n.current(0, "three\n")
}
