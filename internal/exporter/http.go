package exporter

import (
	"net/http"
	"time"

	"kvexpress/internal/httpd"
	"kvexpress/internal/observe"
)

// Handler answers what monitors ask.
func (e *Exporter) Handler() http.Handler {
	return httpd.Pages{
		{Path: "/healthz", Write: httpd.Verdict(e.Healthy)},
		{Path: "/readyz", Write: httpd.Verdict(e.Ready)},
		{Path: "/metrics", Write: func(w http.ResponseWriter) {
			httpd.Begin(w, observe.ContentType)
			_ = e.WriteMetrics(w, time.Now()) // it fails when the client is gone
		}},
	}
}
