package cli

import (
	"encoding/json"
	"net/http"
	"time"

	"kvexpress/internal/agent"
	"kvexpress/internal/httpd"
	"kvexpress/internal/observe"
)

// agentPages answers monitors and people. It changes nothing, and holds one status at a time. A monitor restarts an agent
// that is not healthy. Ready means that the agent has reconciled every target once. A local listener is a Unix socket, whose
// mode says who may read the output of commands.
func agentPages(status func() agent.Status, healthy, ready func() error, local bool) http.Handler {
	if all := status; !local {
		status = func() agent.Status { return all().Public() }
	}
	return httpd.Pages{
		httpd.HealthPath: httpd.Verdict(healthy),
		httpd.ReadyPath:  httpd.Verdict(ready),
		httpd.MetricsPath: func(w http.ResponseWriter) {
			httpd.Begin(w, observe.ContentType)
			_ = WriteAgentMetrics(w, status(), time.Now()) // it fails when the client has closed the connection
		},
		httpd.StatusPath: func(w http.ResponseWriter) {
			httpd.Begin(w, "application/json")
			enc := json.NewEncoder(w)
			enc.SetEscapeHTML(false)
			_ = enc.Encode(status()) // the same
		},
	}
}
